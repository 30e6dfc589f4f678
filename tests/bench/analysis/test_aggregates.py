"""Gates over all points, and their effect over scale, by hand on hand-made cells."""

import pytest

from gatebench.bench.analysis.aggregates import gate_aggregates, scale_slopes
from tests.helpers import MEANS, measured_cells


def test_gates_over_all_points_by_hand():
    values = {("small", "dpo", "none"): 0.0, ("small", "dpo", "seq"): 10.0, ("large", "dpo", "none"): 5.0,
              ("large", "dpo", "seq"): 1.0}  # fmt: skip
    none, seq = gate_aggregates(measured_cells(values, seeds=(0, 1)))
    assert (none.gate, none.points, none.seeds, none.improvement) == ("none", 2, 2, None)
    assert seq.iqm.value == pytest.approx((1.1 + 10.0) / 2)  # the middle half of 1, 1.1, 10, 10.1
    assert seq.improvement.value == pytest.approx(0.5)  # always better on small, never on large
    assert (seq.improvement.lo, seq.improvement.hi) == (0.5, 0.5)
    assert gate_aggregates(measured_cells(values, seeds=(0,)))[1].iqm.lo is None


def test_an_ungated_cell_is_told_by_its_kind_whatever_its_gate_is_called():
    called = {(*key[:-1], "baseline" if key[-1] == "none" else key[-1]): value for key, value in MEANS.items()}
    found = {(row.objective, row.gate): (row.slope, row.gated) for row in scale_slopes(measured_cells(called))}
    assert found[("dpo", "baseline")] == (pytest.approx(-10), False)
    assert found[("dpo", "seq")] == (pytest.approx(11), True)
    improvements = {row.gate: row.improvement for row in gate_aggregates(measured_cells(called))}
    assert improvements["baseline"] is None
    assert improvements["seq"] is not None


def test_the_gates_effect_over_scale_by_hand():
    found = {(row.objective, row.gate): row.slope for row in scale_slopes(measured_cells(MEANS))}
    assert found == pytest.approx({("dpo", "none"): -10, ("dpo", "seq"): 11, ("ipo", "none"): -2, ("ipo", "seq"): 1})
