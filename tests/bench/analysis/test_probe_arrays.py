"""Values by cell, seed and probe: what all have in common, and the intervals of a group."""

import pytest

from gatebench.bench.analysis.aggregates import groups
from gatebench.bench.analysis.probe_arrays import Measured, cube, with_intervals
from tests.helpers import measured, measured_cells


def test_seeds_and_probes_are_those_that_all_cells_have():
    ours, theirs = (measured(gate=gate, seed=1, mean=mean) for gate, mean in (("seq", 1.0), ("none", 0.0)))
    fewer = Measured(theirs.axes, theirs.deltas[theirs.deltas["prompt"] > 9])
    found = cube([{0: ours, 1: ours}, {1: fewer}], "delta_chosen")
    assert found.seeds == (1,)
    assert found.values.shape == (2, 1, 30)
    assert cube([{0: ours}, {1: fewer}], "delta_chosen") is None


def test_intervals_of_a_group_hold_its_mean():
    cells = {c.axes["seed"]: c for c in measured_cells({("small", "dpo", "seq"): 2.0})}
    value, lo, hi = with_intervals(cells, ["delta_chosen", "margin"])["delta_chosen"]
    assert value == pytest.approx(2.1)
    assert lo < 2.1 < hi
    group = groups(list(cells.values()))[0]
    assert group.seeds == (0, 1, 2)
    assert (group.metrics["delta_chosen_lo"], group.metrics["delta_chosen_hi"]) == pytest.approx((lo, hi))
    assert group.metrics["test_delta_chosen"] == pytest.approx(-2.1)
