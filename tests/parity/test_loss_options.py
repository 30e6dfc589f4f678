"""TRL's arguments beside `loss=`: they act on the loss, or are refused; none is passed over in silence."""

import pytest
import torch

from gatebench.objectives.registry import losses
from gatebench.objectives.trl import GatedDPOConfig
from tests.architectures import save
from tests.parity.test_trainer import assert_same_bits, train

READ_BY_LOSS_TYPE = {
    "loss_type": ["hinge"],
    "loss_weights": [0.5],
    "ld_alpha": 0.5,
    "f_divergence_type": "js_divergence",
    "f_alpha_divergence_coef": 0.2,
    "use_weighting": True,
}


def config(tmp_path, **arguments):
    return GatedDPOConfig(str(tmp_path), use_cpu=True, bf16=False, **arguments)


@pytest.mark.parametrize("name", READ_BY_LOSS_TYPE)
def test_what_only_loss_type_reads_is_refused(tmp_path, name):
    value = READ_BY_LOSS_TYPE[name]
    config(tmp_path, **{name: value})
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the sentence is compared)
        config(tmp_path, loss="dpo", **{name: value})
    expected = f"{name}={value!r} is read by TRL's loss_type, which loss='dpo' replaces; leave out one of them"
    assert str(caught.value) == expected


def test_a_list_of_one_loss_type_is_the_default_too(tmp_path):
    config(tmp_path, loss="dpo", loss_type="sigmoid")


def test_an_argument_of_trls_acts_where_the_loss_has_it(tmp_path):
    assert config(tmp_path, loss="dpo", beta=0.3).to_gating().loss_parameters == {"beta": 0.3}
    assert config(tmp_path, loss="trl:robust", label_smoothing=0.1).to_gating().loss_parameters == {
        "label_smoothing": 0.1
    }
    assert config(tmp_path, loss="dpo", loss_parameters={"beta": 0.3}).beta == 0.3  # what TRL's rewards are scaled with
    assert config(tmp_path, loss="dpo", beta=0.3, loss_parameters={"beta": 0.3}).beta == 0.3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"loss": "sft", "beta": 0.3}, "loss sft has no beta, so beta=0.3 would not act; leave it out"),
        ({"loss": "dpo", "label_smoothing": 0.1}, "loss dpo has no label_smoothing, so label_smoothing=0.1 would not"),
        (
            {"loss": "dpo", "beta": 0.3, "loss_parameters": {"beta": 0.2}},
            "beta=0.3 and loss_parameters' beta 0.2 contradict each other",
        ),
        ({"loss_parameters": {"beta": 0.2}}, "loss_parameters {'beta': 0.2} belong to no loss; say which"),
    ],
    ids=str,
)
def test_what_would_not_act_is_refused(tmp_path, arguments, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        config(tmp_path, **arguments)
    assert str(caught.value).startswith(sentence)


def test_every_loss_takes_its_own_defaults(tmp_path):
    for name, loss in losses().items():
        found = config(tmp_path, loss=name).to_gating()
        assert loss.make_parameters(**found.loss_parameters) == loss.make_parameters()


@pytest.mark.parametrize("more", [{}, {"beta": 0.4}])
def test_a_loss_with_trls_beta_is_trls(model_paths, tokenizer, preference_rows, tmp_path, more):
    ours, theirs = (
        train("ours", model_paths["llama"], tokenizer, preference_rows, tmp_path, **chosen, **more)
        for chosen in ({"loss": "trl:hinge"}, {"loss_type": "hinge"})
    )
    assert_same_bits(ours, theirs)
    for mine, other in zip(ours.state.log_history[:2], theirs.state.log_history[:2], strict=True):
        assert mine["rewards/margins"] == other["rewards/margins"]


@pytest.mark.parametrize("gate", [{}, {"gate": "seq", "gate_alpha": 1e30, "gate_tau": 0.0}], ids=["none", "open"])
def test_experts_are_trls_bit_for_bit(tokenizer, preference_rows, tmp_path, gate):
    path = save("mixtral", tokenizer, tmp_path / "model")
    ours = train("ours", path, tokenizer, preference_rows, tmp_path, router_aux_loss_coef=0.5, **gate)
    theirs = train("stock", path, tokenizer, preference_rows, tmp_path, router_aux_loss_coef=0.5)
    assert_same_bits(ours, theirs)
    assert "aux_loss" in theirs.state.log_history[0]


def test_the_routers_loss_is_added(tokenizer, preference_rows, tmp_path):
    path = save("mixtral", tokenizer, tmp_path / "model")
    ours, theirs = (
        train("ours", path, tokenizer, preference_rows, tmp_path, router_aux_loss_coef=2.0, **chosen)
        for chosen in ({"loss": "trl:sigmoid"}, {"loss_type": "sigmoid"})
    )
    assert_same_bits(ours, theirs)
    without = train("ours", path, tokenizer, preference_rows, tmp_path, router_aux_loss_coef=0.0, loss="trl:sigmoid")
    first, second = without.state.log_history[0]["loss"], ours.state.log_history[0]["loss"]
    assert second - first == pytest.approx(2.0 * ours.state.log_history[0]["aux_loss"], rel=1e-4)


def test_a_log_prob_of_minus_infinity_leaves_a_finite_loss_finite():
    from gatebench.objectives.gates import apply_gate

    for side in ("both", "down"):
        log_probs = torch.tensor([[-1.0, -torch.inf]], requires_grad=True)
        gated = apply_gate(log_probs, torch.tensor([[0.5]]), side)
        assert torch.equal(gated, log_probs)
        loss = -torch.nn.functional.logsigmoid(0.0 - gated.sum())  # as DPO's where a rejected response is impossible
        assert loss == 0
        loss.backward()
        assert torch.equal(log_probs.grad, torch.zeros(1, 2))
