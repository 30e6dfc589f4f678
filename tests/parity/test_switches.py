"""TRL's switches as parameters of a loss: each pairwise loss with each of them is TRL's, and a suite's cell is too."""

import pandas
import pytest
import torch

from gatebench.bench.stages.training.rows import training_rows
from gatebench.bench.suite.schema import Objective
from gatebench.objectives.gates import Gate
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import get_loss
from gatebench.objectives.switches import desensitised
from gatebench.objectives.trl import GatedDPOConfig
from tests.cases import NEEDED
from tests.parity.test_trainer import assert_same_bits, train, weights

DIVERGING = {
    "forward_kl": {"f_divergence_type": "forward_kl"},
    "js": {"f_divergence_type": "js_divergence"},
    "alpha 0.5": {"f_divergence_type": "alpha_divergence"},
    "alpha 0.2": {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.2},
    "alpha 1": {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.0},
}
SWITCHES = {
    **DIVERGING,
    "wpo": {"use_weighting": True},
    "ld": {"ld_alpha": 0.4},
    "ld 0": {"ld_alpha": 0.0},
    "all": {"f_divergence_type": "js_divergence", "use_weighting": True, "ld_alpha": 0.4},
}
STEP = {"learning_rate": 1e-2, "optim": "sgd", "warmup_steps": 0, "max_grad_norm": 0.0}  # Adam divides by rounding


@pytest.fixture
def trained(model_paths, tokenizer, preference_rows, tmp_path):
    def run(kind, **arguments):
        return train(kind, model_paths["llama"], tokenizer, preference_rows, tmp_path, **STEP | arguments)

    return run


def assert_like(ours, theirs):
    for name, weight in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], weight, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("name", ["dpo", "trl:ipo", "trl:sigmoid_norm"])
def test_a_training_is_trls(trained, name, switch):
    ours = trained("ours", loss=name, loss_parameters={"beta": 0.3, **SWITCHES[switch]})
    loss_type = name.removeprefix("trl:").replace("dpo", "sigmoid")
    theirs = trained("stock", loss_type=loss_type, beta=0.3, **SWITCHES[switch])
    assert_like(ours, theirs)
    assert ours.state.log_history[0]["loss"] == pytest.approx(theirs.state.log_history[0]["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["trl:nca_pair", "trl:apo_zero", "trl:bco_pair"])
def test_a_loss_of_both_ratios_is_trls_weighted_and_desensitised(trained, name):
    switches = {"use_weighting": True, "ld_alpha": 0.4}
    assert_like(
        trained("ours", loss=name, loss_parameters=switches),
        trained("stock", loss_type=name.removeprefix("trl:"), **switches),
    )


def test_a_hinge_is_weighted_though_trl_cannot_train_it(trained):
    """TRL multiplies in place what its hinge's backward pass needs, and fails."""
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        trained("stock", loss_type="hinge", use_weighting=True)
    trained("ours", loss="trl:hinge", loss_parameters={"use_weighting": True})


def test_a_switch_acts_and_a_gate_beside_it(trained):
    plain = trained("ours", loss="dpo")
    for switch in ({"use_weighting": True}, {"ld_alpha": 0.4}, {"f_divergence_type": "forward_kl"}):
        found = trained("ours", loss="dpo", loss_parameters=switch)
        assert any(not torch.equal(weights(found)[name], weight) for name, weight in weights(plain).items())
        gated = trained("ours", loss="dpo", loss_parameters=switch, gate="constant", gate_value=0.3)
        gated_by_trl = trained("ours", gate="constant", gate_value=0.3, **switch)
        assert_like(gated, gated_by_trl)


def test_a_synced_reference_moves_for_a_loss_of_ours_as_for_trls(trained):
    moving = {"sync_ref_model": True, "ref_model_sync_steps": 1, "steps": 3}
    assert_same_bits(trained("ours", loss="dpo", **moving), trained("stock", **moving))


@pytest.mark.parametrize("case", DIVERGING)
def test_the_gradient_of_a_divergence_is_that_of_its_value(case):
    generator = torch.Generator().manual_seed(0)
    values = [-6 * torch.rand(5, generator=generator, dtype=torch.float64) for _ in range(4)]
    tokens, loss = torch.tensor([1, 2, 3, 4, 5]), get_loss("trl:ipo")
    parameters = loss.make_parameters(**DIVERGING[case], **NEEDED.get("trl:ipo", {}))

    def value(chosen, rejected):
        return loss.function(PairLogProbs(chosen, rejected, *values[2:], tokens, tokens), parameters)

    assert torch.autograd.gradcheck(value, [side.requires_grad_() for side in values[:2]])


def test_what_a_cell_reads_of_its_stored_reference_is_desensitised_alike():
    """Chosen of 3 and 1 tokens, rejected of 1 and 2; the store has the tokens, TRL sums a padded batch."""
    chosen, rejected = [[-1.0, -2.0, -4.0], [-3.0]], [[-5.0], [-6.0, -7.0]]
    frame = pandas.DataFrame({"chosen": chosen, "rejected": rejected})
    rows = training_rows([_Pair(c, r) for c, r in zip(chosen, rejected, strict=True)], frame, Gate(), 0.25)
    padded = torch.tensor([[*row, 0, 0, 0][:3] for row in (*chosen, *rejected)], dtype=torch.float64)
    expected = desensitised(padded, (padded < 0).long(), 0.25)
    assert rows["ref_chosen_logps"][:] == pytest.approx(expected[:2].tolist())
    assert rows["ref_rejected_logps"][:] == pytest.approx(expected[2:].tolist())


class _Pair:
    def __init__(self, chosen, rejected):
        self.prompt, self.chosen, self.rejected, self.learned = [1], [1] * len(chosen), [1] * len(rejected), {}


@pytest.mark.parametrize(
    ("name", "parameters", "error", "sentence"),
    [
        ("dpo", {"ld_alpha": 1.5}, ValueError, "ld_alpha 1.5 is no share"),
        ("dpo", {"ld_alpha": "much"}, ValueError, "dpo's ld_alpha 'much' is no finite number"),
        ("dpo", {"use_weighting": "yes"}, ValueError, "dpo's use_weighting 'yes' is neither true nor false"),
        ("dpo", {"f_divergence_type": "js"}, UnknownWord, "f_divergence_type 'js'"),
        ("trl:nca_pair", {"f_divergence_type": "js_divergence"}, UnknownWord, "unknown parameter of trl:nca_pair"),
        ("trl:aot", {"use_weighting": True}, UnknownWord, "unknown parameter of trl:aot"),
        ("dpo+nll", {"ld_alpha": 0.5}, ValueError, "use_weighting and ld_alpha change what all parts of a mix read"),
    ],
)
def test_a_switch_that_makes_no_sense_is_refused(name, parameters, error, sentence):
    with pytest.raises(error, match=sentence):
        get_loss(name).make_parameters(**parameters)


def test_a_suite_takes_switches_and_refuses_a_moving_reference():
    given = {"name": "wpo", "loss": "dpo", "use_weighting": True, "ld_alpha": 0.5}
    assert Objective.model_validate(given).parameters == {"use_weighting": True, "ld_alpha": 0.5}
    for entry in ({"loss": "dpo", "sync_ref_model": True}, {"loss": "dpo", "parameters": {"sync_ref_model": True}}):
        with pytest.raises(ValueError, match="scored once before the training, and does not move with it"):
            Objective.model_validate(entry)


def test_a_config_can_be_made_again_from_what_it_says(tmp_path):
    config = GatedDPOConfig(str(tmp_path), loss="dpo", loss_parameters={"ld_alpha": 0.5}, use_cpu=True, bf16=False)
    assert config.ld_alpha == 0.5
    again = GatedDPOConfig(str(tmp_path), loss="dpo", loss_parameters=config.loss_parameters, ld_alpha=config.ld_alpha,
                           use_cpu=True, bf16=False)  # fmt: skip
    assert again.to_gating() == config.to_gating()
