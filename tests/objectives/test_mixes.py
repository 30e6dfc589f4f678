"""Weighted mixes: golden values, names, parameters, and what one cannot be."""

import dataclasses
import pickle

import pytest
import torch

from gatebench.bench import keys
from gatebench.bench.suite.schema import Objective
from gatebench.objectives.mixes import name_of, weights_of
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.registry import get_loss
from tests.cases import batch_from, token_log_probs
from tests.objectives.test_rivals import POINTS, at, several, value_and_gradients

GOLDEN = [
    ("A", 3.0130152524, -0.0901312340, 0.0401312340),
    ("B", 3.1531860489, -0.0831812228, 0.0331812228),
]


@pytest.mark.parametrize(("point", "value", "chosen", "rejected"), GOLDEN)
def test_golden_value_and_gradients_of_dpo_with_its_likelihood(point, value, chosen, rejected):
    found = value_and_gradients("dpo+nll", {"beta": 0.1}, at(POINTS[point]))
    assert [part.item() for part in found] == pytest.approx([value, chosen, rejected], rel=1e-9, abs=5e-11)


def test_a_mix_is_the_weighted_sum_of_its_parts():
    found = value_and_gradients("0.5*dpop+2*simpo+0.1*sft", {"dpop": {"beta": 0.2}, "gamma": 0.3}, several())
    parts = [(0.5, "dpop", {"beta": 0.2}), (2, "simpo", {"gamma": 0.3}), (0.1, "sft", {})]
    each = [[weight * part for part in value_and_gradients(name, own, several())] for weight, name, own in parts]
    for value, *expected in zip(found, *each, strict=True):
        torch.testing.assert_close(value, sum(expected))


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ({"dpo": 1, "nll": 0.2}, "dpo+0.2*nll"),
        ({"nll": 0.2, "dpo": 1.0}, "0.2*nll+dpo"),
        ({"trl:sigmoid": 1, "trl:sft": 1e6}, "trl:sigmoid+1000000*trl:sft"),
        ({"dpo": 1, "nll": 1e20}, "dpo+1e20*nll"),
        ({"dpo": 1, "nll": 0}, "dpo+0*nll"),
        ({"dpo": 1}, "dpo"),
    ],
)
def test_a_name_writes_the_weights_and_the_weights_the_name(weights, name):
    assert name_of(weights) == name
    assert weights_of(name) == weights
    assert get_loss(name).name == name


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({}, "a mix needs a part with a weight above 0"),
        ({"dpo": 0}, "a mix needs a part with a weight above 0"),
        ({"dpo": -1}, "the weight -1 of dpo is no number from 0 up"),
        ({"dpo": True}, "the weight True of dpo is no number from 0 up"),
        ({"dpo": "1"}, "the weight '1' of dpo is no number from 0 up"),
        ({"dpo+nll": 2}, "'dpo\\+nll' cannot be a part of a mix"),
    ],
)
def test_what_makes_no_mix_is_refused(weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        name_of(weights)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dpo+", "writes no mix"),
        ("x*dpo+nll", "writes no mix"),
        ("dpo+2*dpo", "dpo stands twice"),
        ("dpo+nlll", "unknown loss 'nlll'; did you mean 'nll'"),
        ("alpha_dpo+beta_dpo", "alpha_dpo and beta_dpo each take something of the whole batch"),
    ],
)
def test_a_name_that_writes_no_mix_is_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        get_loss(name)


def test_a_parameter_is_given_once_for_all_parts_or_for_one_alone():
    mix = get_loss("dpo+bdpo+nll")
    shared = mix.make_parameters(beta=0.3, bdpo={"beta": 0.2})
    assert [getattr(part, "beta", None) for part in shared.parts] == [0.3, 0.2, None]
    assert mix.beta(shared) == 0.3
    assert mix.make_parameters(**mix.values(shared)) == shared
    assert hash(shared) == hash(pickle.loads(pickle.dumps(shared)))  # noqa: S301
    assert keys.digest(shared) != keys.digest(mix.make_parameters(beta=0.3))
    with pytest.raises(UnknownWord, match=r"unknown parameter of dpo\+bdpo\+nll 'lamb'; did you mean 'lam'"):
        mix.make_parameters(lamb=0.3)
    with pytest.raises(UnknownWord, match="unknown parameter of dpo 'lam'"):
        mix.make_parameters(dpo={"lam": 0.3})
    with pytest.raises(ValueError, match="are no parameters; write them as"):
        mix.make_parameters(dpo=0.3)


def test_a_mix_says_what_its_parts_say():
    assert get_loss("cal_dpo+nll").sums == torch.float64
    assert not get_loss("simpo+nll").reference
    assert get_loss("simpo+dpo").reference
    assert get_loss("dpo+trl:sft").couples_pairs
    mix = get_loss("cal_dpo+ipo")
    sentence = mix.caution(mix.make_parameters(cal_dpo={"beta": 0.001}))
    assert "drowns" in sentence
    assert "5 nats per token" in sentence
    assert mix.caution(mix.make_parameters(cal_dpo={"beta": 0.1}, ipo={"beta": 1})) is None


def test_a_part_that_takes_something_of_the_batch_takes_it_in_a_mix_too():
    pairs = batch_from(*token_log_probs())
    mix, own = get_loss("nll+0.5*beta_dpo"), get_loss("beta_dpo")
    generator = torch.Generator().manual_seed(3)
    found = mix.of_batch(pairs.detached(), mix.make_parameters(), (1.0, 2.0), generator)
    expected = own.of_batch(pairs.detached(), own.make_parameters(), (1.0, 2.0), generator.manual_seed(3))
    assert torch.equal(found.rows, expected.rows)
    with_rows = dataclasses.replace(pairs, of_batch=found.rows)
    value = mix.function(with_rows, mix.make_parameters())
    parts = -pairs.chosen_per_token + 0.5 * own.function(with_rows, own.make_parameters())
    torch.testing.assert_close(value, parts)


@pytest.mark.parametrize(
    ("entry", "name", "loss", "parameters"),
    [
        ({"name": "rpo", "loss": {"dpo": 1, "nll": 0.2}}, "rpo", "dpo+0.2*nll", {}),
        ({"loss": {"dpo": 1, "nll": 0.2}, "beta": 0.3}, "dpo+0.2*nll", "dpo+0.2*nll", {"beta": 0.3}),
        ("dpo + 0.20*nll", "dpo + 0.20*nll", "dpo+0.2*nll", {}),
        ({"name": "sft mix", "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}, "sft mix",
         "trl:sigmoid+0.2*trl:sft", {}),
        ({"name": "hinge", "loss_type": "hinge"}, "hinge", "trl:hinge", {}),
        ({"name": "two", "loss": {"dpo": 1, "ipo": 1}, "parameters": {"dpo": {"beta": 0.3}}}, "two", "dpo+ipo",
         {"dpo": {"beta": 0.3}}),
    ],
)  # fmt: skip
def test_a_suite_writes_a_mix_as_it_likes(entry, name, loss, parameters):
    objective = Objective.model_validate(entry)
    assert (objective.name, objective.loss, objective.parameters) == (name, loss, parameters)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"name": "a", "loss_weights": [1]}, "loss_weights belong to a list loss_type"),
        ({"name": "a", "loss_type": ["sigmoid", "sft"], "loss_weights": [1]}, "one number for each of loss_type's 2"),
        ({"name": "a", "loss": "dpo", "loss_type": "sigmoid"}, "two ways to say one thing"),
        ({"name": "a", "loss": {"dpo": 1, "nll": -1}}, "the weight -1 of nll is no number from 0 up"),
        ({"name": "a", "loss": {"dpo": 1, "nlll": 1}}, "did you mean 'nll'"),
        ({"name": "a", "loss": {"dpo": 1, "nll": 1}, "bta": 1}, "did you mean 'beta'"),
    ],
)
def test_a_suites_mistake_in_a_mix_is_a_sentence(entry, sentence):
    with pytest.raises(ValueError, match=sentence):
        Objective.model_validate(entry)


def test_only_a_method_without_a_warm_up_goes_without_unless_asked():
    assert Objective.model_validate("orpo").warmup == "none"
    assert Objective.model_validate({"name": "orpo", "warmup": "sft"}).warmup == "sft"
    assert Objective.model_validate("simpo").warmup == "sft"
    assert Objective.model_validate({"name": "extended_sft"}).warmup == "extended_sft"
