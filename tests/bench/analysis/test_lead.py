"""Which gate leads: told from the others by pairs over points, and honest where it is not."""

import pytest

from gatebench.bench.analysis.answer import leader
from gatebench.bench.analysis.lead import leading_gate
from gatebench.objectives.gates import Gate
from tests.helpers import measured

SEQ = Gate("seq", "5/tau")
KINDS = {"none": Gate(), "seq": SEQ, "constant": Gate("constant", of=SEQ)}


def cells(gains, models=("small", "large"), probes=40, **more):
    """gains: by gate, one for each seed."""
    return [
        measured(gate=gate, seed=seed, mean=gain + (model == "large"), model=model, probes=probes, **more)
        for model in models for gate, own in gains.items() for seed, gain in enumerate(own)
    ]  # fmt: skip


def told(gains, metric="delta_chosen", kinds=KINDS, **more):
    return leader(leading_gate(metric, cells(gains, **more), kinds))


def test_a_gate_that_is_told_from_all_is_named_with_its_figure():
    found = leading_gate("delta_chosen", cells({"none": [-9, -9.1, -9.2], "seq": [3, 3.1, 3.2]}), KINDS)
    assert (found.gate, found.points, found.seeds) == ("seq", 2, 3)
    assert found.value == pytest.approx(3.6)
    assert found.lo < 3.6 < found.hi
    assert [(other.gate, other.value) for other in found.others] == [("none", pytest.approx(12.2))]
    words = told({"none": [-9, -9.1, -9.2], "seq": [3, 3.1, 3.2]})
    assert words.startswith("Of 2 gates seq has the highest Δ chosen: 3.60 [")
    assert "nats a response over 2 points, 3 seeds; told from the next, none (difference 12." in words
    assert "open" not in words


def test_one_that_is_not_told_from_its_control_says_that_it_is_open():
    words = told({"none": [-9, -8, -7], "seq": [3, 1, 2], "constant": [1, 2, 2.5]})
    assert "Of 3 gates seq has the highest" in words
    assert "not told from the next, the constant weight of the same mean, constant (difference 0.17" in words
    assert words.endswith("so that which gate is best stays open.")


def test_a_control_that_is_not_the_next_is_said_too():
    gains = {"none": [-9, -9.1, -9.2], "constant": [-8, -8.1, -8.3], "seq": [3, 3.1, 3.3], "q10": [2.9, 3.2, 3.1]}
    words = told(gains)
    assert "not told from the next, q10 (" in words
    assert "; told from the constant weight of the same mean, constant (" in words


def test_where_a_control_leads_the_gate_it_is_of_is_named():
    found = leading_gate("delta_chosen", cells({"seq": [1, 1.1], "constant": [4, 4.1]}), KINDS)
    assert (found.gate, found.control) == ("constant", "seq")


def test_p_is_corrected_over_all_that_could_have_been_named():
    gains = {"none": [0, 1, 2.2], "seq": [3, 2.4, 4], "constant": [1, 2, 1.5]}
    both = {other.gate: other.p for other in leading_gate("delta_chosen", cells(gains), KINDS).others}
    (alone,) = leading_gate("delta_chosen", cells({gate: gains[gate] for gate in ("seq", "none")}), KINDS).others
    assert both["none"] == pytest.approx(2 * alone.p)


def test_points_that_a_gate_lacks_count_for_none():
    some = cells({"none": [0, 0.1], "seq": [1, 1.1]})
    alone = cells({"q10": [9, 9.1]}, models=("small",))
    found = leading_gate("delta_chosen", [*some, *alone], KINDS)
    assert (found.gate, found.points) == ("q10", 1)


def test_nothing_to_compare_is_no_lead():
    assert leading_gate("delta_chosen", cells({"seq": [1, 2]}), KINDS) is None
    assert leading_gate("delta_chosen", [], KINDS) is None
    assert leading_gate("delta_rejected", cells({"none": [0, 1], "seq": [1, 2]}), KINDS) is None
    assert leading_gate("accuracy", cells({"none": [0, 1], "seq": [1, 2]}), KINDS) is None  # which these do not have


def test_of_one_seed_it_is_said():
    assert "over 1 point, one seed; " in told({"none": [0], "seq": [5]}, models=("small",))
