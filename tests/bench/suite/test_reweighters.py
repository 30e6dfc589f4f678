"""Reweighters on the gates axis: what a suite may say of them, and what it is told where that makes no sense."""

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.tune.space import gate_to_tune
from gatebench.objectives.gates import Gate
from tests.helpers import GOOD, plan_of, suite_of

LINE = "gates: [none, {kind: seq, alpha: 50, tau: q50}]"
GATES = """gates:
  - none
  - {kind: seq, alpha: 50, tau: q50}
  - {kind: clip, bound: 0.04}
  - {kind: constant, name: constant_clip, of: clip}
  - {kind: shuffled, name: shuffled_clip, of: clip}
  - {kind: humanline, band: [-1, 2]}
  - {kind: constant, name: constant_humanline, of: humanline}
  - rc
  - {kind: rc, name: fixed, value: 1.5}"""


def test_each_is_the_gate_that_it_says(tmp_path):
    suite = suite_of(tmp_path, GOOD.replace(LINE, GATES))
    found = {axis.name: suite.gate(axis) for axis in suite.gates}
    clip, humanline = Gate("clip", bound=0.04), Gate("humanline", band=(-1.0, 2.0))
    assert found["clip"] == clip
    assert found["constant_clip"] == Gate("constant", of=clip)
    assert found["shuffled_clip"] == Gate("shuffled", of=clip)
    assert found["humanline"] == humanline
    assert found["constant_humanline"] == Gate("constant", of=humanline)
    assert found["rc"] == Gate("rc") != found["fixed"] == Gate("rc", value=1.5)
    assert all(gate.is_resolved for name, gate in found.items() if name != "seq")


def test_they_are_trained_apart_and_move_no_key_of_a_gate(tmp_path):
    before, after = plan_of(tmp_path, GOOD), plan_of(tmp_path, GOOD.replace(LINE, GATES))
    assert set(before.nodes) <= set(after.nodes)
    trained = [cell.stages["train"] for cell in after.cells if cell.objective == "dpo"]
    assert len(set(trained)) == len(trained) == 9


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        ("[{kind: clip}]", "gates.0: gate clip needs `bound`"),
        ("[{kind: clip, bound: -1}]", "bound -1 is no size of a gradient"),
        ("[{kind: clip, bound: 1, alpha: 100}]", "gate clip has no `alpha`"),
        ("[{kind: rc, tau: q50}]", "gate rc has no `tau`"),
        ("[rc, {kind: shuffled, of: rc}]", "rc gives all pairs of a step the same weights, so its shuffled is rc"),
        ("[rc, {kind: constant, of: rc}]", "write kind rc with a `value`"),
        ("[humanline, {kind: constant, of: humanline, side: down}]", "humanline acts on both responses"),
        ("[{kind: humanline, band: [-1]}]", "band"),
        ("[{kind: humanline, band: [1, 2]}]", "band [1, 2] leaves no token"),
        ("[{kind: rc, value: -2}]", "value -2 is no alpha of rc"),
        ("[{kind: constant, value: 1.5}]", "value 1.5 is no weight"),
        ("[{kind: clipp, bound: 1}]", "unknown gate kind 'clipp'; did you mean 'clip'?"),
        ("[{kind: clip, bond: 1}]", "did you mean 'bound'?"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path, gates, sentence):
    with pytest.raises(UserError) as caught:
        suite_of(tmp_path, GOOD.replace(LINE, f"gates: {gates}"))
    assert sentence in str(caught.value), str(caught.value)
    assert len(caught.value.sentences) == 1, caught.value.sentences


def test_a_search_is_not_for_their_numbers(tmp_path):
    suite = suite_of(tmp_path, GOOD.replace(LINE, GATES) + "tune: {}\n")
    assert suite.tune is not None
    assert gate_to_tune(suite, suite.tune).name == "seq"
