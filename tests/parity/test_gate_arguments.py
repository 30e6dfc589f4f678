"""One gate, written in three places: Gate(...), a suite's entry and GatedDPOConfig(...) have the same checks, and a TRL
script hears of a gate that is a constant."""

import logging
import math

import pytest
import torch
import yaml
from trl import DPOTrainer

from gatebench.bench.errors import UserError
from gatebench.bench.suite.reader import load_suite
from gatebench.objectives.gates import Gate
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from tests.cases import GATES
from tests.helpers import GOOD, write
from tests.parity.test_trainer import assert_same_bits, train

WRITTEN = {
    **GATES,
    "percentile": Gate("q10", "5/tau", "q25"),
    "of the reference": Gate("seq", 30.0, 0.1, probability="reference"),
    "shuffled, down": Gate("shuffled", side="down", of=Gate("token", "5/tau", "q75")),
    "matched to the reference": Gate("constant", of=Gate("q50", 30.0, 0.1, probability="reference")),
    "closed": Gate("constant", value=0.0),
}
# arguments of Gate("seq", ...) -> the sentence, and the key that a suite's has before it where it is of one field
OWN = " (one of your own: an entry point of the group gatebench.{})"
REFUSED = [
    ({"tau": 3.5}, "tau 3.5 is not a probability; write one in [0, 1], or qNN for a percentile", "tau"),
    ({"tau": "50%"}, "'50%' is not a percentile; write q50 for the median", "tau"),
    ({"alpha": 0.0}, "alpha 0 does not make a gate; write a number above 0, or 5/tau", "alpha"),
    ({"alpha": -3.0}, "alpha -3 does not make a gate; write a number above 0, or 5/tau", "alpha"),
    ({"alpha": math.nan}, "alpha nan does not make a gate; write a number above 0, or 5/tau", "alpha"),
    ({"alpha": math.inf}, "alpha inf does not make a gate; write a number above 0, or 5/tau", "alpha"),
    ({"alpha": "5*tau"}, "'5*tau' is no alpha; write a number, or 5/tau for five divided by the threshold", "alpha"),
    ({"kind": "constant", "value": 1.5}, "value 1.5 is no weight; write one in [0, 1]", "value"),
    ({"value": 0.5}, "gate seq has no `value`; it belongs to constant", None),
    ({"kind": "constant"}, "gate constant needs either `value` or `of`, the gate whose mean it takes", None),
    ({"kind": "shuffled"}, "gate shuffled needs `of`, the gate whose weights are permuted", None),
    ({"kind": "sequ"}, "unknown gate kind 'sequ'; did you mean 'seq'?" + OWN.format("gates"), None),
]


@pytest.fixture
def machine(tmp_path):
    """What TRL asks of a script without a GPU."""
    return {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}


@pytest.mark.parametrize("gate", WRITTEN)
def test_a_gate_survives_being_written_as_arguments(machine, gate):
    assert GatedDPOConfig.of_gate(WRITTEN[gate], **machine).to_gate() == WRITTEN[gate]


@pytest.mark.parametrize(("arguments", "sentence", "key"), REFUSED)
def test_the_three_places_refuse_it_in_the_same_words(tmp_path, machine, arguments, sentence, key):
    given = {"kind": "seq", **arguments}
    with pytest.raises(ValueError) as alone:  # noqa: PT011 (the whole sentence is compared)
        Gate(**given)
    own = {"gate" if name == "kind" else f"gate_{name}": value for name, value in given.items()}
    with pytest.raises(ValueError) as in_a_script:  # noqa: PT011
        GatedDPOConfig(**machine, **own)
    entry = yaml.safe_dump(given, default_flow_style=True, width=1000).strip()
    file = write(tmp_path, GOOD.replace("{kind: seq, alpha: 50, tau: q50}", entry))
    with pytest.raises(UserError) as in_a_suite:
        load_suite(file)
    place = f"{file}:6: gates.1" + (f".{key}" if key else "")
    assert str(alone.value) == sentence
    assert str(in_a_script.value) == sentence
    beyond = [value for value in arguments.values() if isinstance(value, float) and not math.isfinite(value)]
    # no number of a suite may be one of those, whatever it is of
    expected = f"{file}:6: not YAML that a suite can be: {beyond[0]} is no finite number" if beyond else None
    assert list(in_a_suite.value.sentences) == [expected or f"{place}: {sentence}"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("{kind: seq, side: up}", "gates.1.side: "),
        ("{kind: seq, of: none}", "gates.1: gate seq has no `of`; it belongs to constant and shuffled"),
        ("{kind: shuffled, of: none}", "`of` must be a selective gate, not none"),
        ("{kind: constant, value: 0.5, of: none}", "needs either `value` or `of`"),
    ],
)
def test_a_suite_refuses_what_only_a_suite_can_write(tmp_path, entry, sentence):
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, GOOD.replace("{kind: seq, alpha: 50, tau: q50}", entry)))
    (found,) = caught.value.sentences
    assert sentence in found


def test_a_script_refuses_an_unknown_side_with_the_list(machine):
    with pytest.raises(ValueError, match="unknown gate_side 'up'; expected one of: both, down"):
        GatedDPOConfig(**machine, gate="seq", gate_side="up")


def cautions(caplog):
    return [record.getMessage() for record in caplog.records if "on this data: of" in record.getMessage()]


@pytest.fixture
def trained(model_paths, tokenizer, preference_rows, tmp_path, caplog):
    """A short training by a script's arguments, and what it warned of."""

    def run(**arguments):
        with caplog.at_level(logging.WARNING, logger="gatebench"):
            caplog.clear()
            trainer = train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, **arguments)
        return trainer, cautions(caplog)

    return run


SHUT = {"gate": "seq", "gate_alpha": 1000.0, "gate_tau": 0.9}  # rejected probabilities are about 5e-4 here


@pytest.mark.parametrize("more", [{}, {"gate": "shuffled", "gate_of": "seq"}], ids=["seq", "shuffled"])
def test_numbers_that_make_a_constant_of_the_gate_are_said_once_and_cost_no_bit(trained, monkeypatch, more):
    watched, said = trained(steps=4, **SHUT | more)
    assert len(said) == 1
    assert said[0].startswith("gate seq: alpha 1000 with tau 0.9 is closed on this data: of ")
    assert " 100 % have a weight below 0.1" in said[0]
    monkeypatch.setattr(GatedDPOTrainer, "train", DPOTrainer.train)  # nothing is watched, and nothing to be resolved
    unwatched, said = trained(steps=4, **SHUT | more)
    assert said == []
    assert_same_bits(watched, unwatched)


def test_a_long_training_is_judged_by_its_first_pairs_and_never_again(trained, monkeypatch):
    monkeypatch.setattr("gatebench.objectives.trl.policy.PAIRS_TO_JUDGE", 4)
    trainer, said = trained(steps=4, **SHUT)
    assert len(said) == 1
    assert trainer._gating.unjudged is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"gate": "seq", "gate_alpha": 1e5, "gate_tau": 4.8e-4},  # in the middle of what the rejected responses have
        {"gate": "constant", "gate_value": 0.5},  # a constant on purpose
        {"gate": "none"},
    ],
    ids=["sensible", "constant", "none"],
)
def test_a_gate_that_is_what_it_says_is_not_warned_of(trained, arguments):
    trainer, said = trained(**arguments)
    assert said == []
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


def test_a_constant_gate_trains_with_the_tau_that_it_does_not_need(trained):
    trainer, _ = trained(gate="constant", gate_value=0.5)
    assert trainer.args.gate_tau == "q50"
    assert [entry["gate/mean"] for entry in trainer.state.log_history if "gate/mean" in entry] == [0.5, 0.5]
