"""The gate changes gradients and nothing else: values bit for bit, limits, controls, edge cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebench.objectives import gates
from gatebench.objectives.gates import Gate
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import masked_sum
from gatebench.objectives.registry import get_loss
from tests.cases import GATES, LOSSES, batch_from, golden_pair, token_log_probs

KINDS = ("seq", "q10", "q50", "token")


def gated_gradients(case, gate):
    """(loss, C, R, g): gradients w.r.t. chosen sums and rejected token log-probs under a gate."""
    loss, parameters = LOSSES[case]
    rejected, mask = token_log_probs()
    rejected.requires_grad_()
    g = gates.weights(gate, rejected, mask, torch.Generator().manual_seed(5)).to(rejected.dtype)
    per_token = g if g.dim() == 2 else g[:, None]
    pairs = batch_from(gates.apply_gate(rejected, per_token, gate.side) * mask, mask)
    value = loss.function(pairs, parameters)
    chosen, down = torch.autograd.grad(value.sum(), (pairs.chosen, rejected), allow_unused=True)
    return value, chosen, torch.zeros_like(rejected) if down is None else down, per_token


@pytest.mark.parametrize("gate", [name for name in GATES if name != "none"])
@pytest.mark.parametrize("case", LOSSES)
def test_value_and_chosen_gradient_stay_and_the_rejected_gradient_becomes_g_times_r(case, gate):
    value, chosen, rejected, _ = gated_gradients(case, GATES["none"])
    gated_value, gated_chosen, gated_rejected, g = gated_gradients(case, GATES[gate])
    assert torch.equal(gated_value, value)
    assert torch.equal(gated_chosen, chosen)
    expected = torch.where(rejected > 0, g * rejected, rejected) if gate == "down" else g * rejected
    torch.testing.assert_close(gated_rejected, expected)


def test_golden_gated_dpo():
    """seq, alpha 50, tau 0.1: p = exp(-62/25) = 0.0837432, g = sigmoid(50 (p - 0.1)) = 0.3072859."""
    tokens = torch.full((1, 25), -62 / 25, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 25)
    p = gates.probability("seq", tokens, mask)
    g = gates.weight(p, 50.0, 0.1)
    assert p.item() == pytest.approx(0.0837432, abs=1e-7)
    assert g.item() == pytest.approx(0.3072859, abs=1e-6)
    base = golden_pair(requires_grad=True)
    pairs = type(base)(
        base.chosen, gates.apply_gate(tokens, g[:, None].double()).sum(dim=1), base.ref_chosen, base.ref_rejected,
        base.chosen_tokens, base.rejected_tokens,
    )  # fmt: skip
    dpo = get_loss("dpo")
    value = dpo.function(pairs, dpo.make_parameters(beta=0.1))
    chosen, rejected = torch.autograd.grad(value.sum(), (base.chosen, tokens))
    assert value.item() == pytest.approx(0.5130152524, rel=1e-9)
    assert chosen.item() == pytest.approx(-0.0401312340, rel=1e-8)
    torch.testing.assert_close(rejected, torch.full_like(rejected, 0.0123317628), rtol=2e-6, atol=0)


def test_gating_keeps_every_bit_in_float32_where_the_naive_formula_drifts():
    x = -100 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    g = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(gates.apply_gate(x, g), x)
    assert not torch.equal(g * x + (1 - g) * x, x)


@pytest.mark.parametrize("kind", KINDS)
def test_limits_of_alpha_and_tau(kind):
    p = gates.probability(kind, *token_log_probs())
    assert torch.equal(gates.weight(p, 0.0, 0.3), torch.full_like(p, 0.5))
    assert torch.equal(gates.weight(p, 1e9, 0.3), (p > 0.3).float())
    assert torch.equal(gates.weight(p, 1e4, -10.0), torch.ones_like(p))
    floor = gates.weight(torch.zeros(1), 40.0, 0.1)
    assert floor.item() == pytest.approx(1 / (1 + math.exp(4.0)), rel=1e-6)


def test_probabilities_by_hand():
    log_probs = torch.log(torch.tensor([[0.1, 0.2, 0.4, 0.5], [0.3, 0.9, 0.9, 0.9]]))
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    seq = gates.probability("seq", log_probs, mask)
    torch.testing.assert_close(seq, torch.tensor([0.2, 0.3]))  # (0.1 * 0.2 * 0.4)^(1/3) = 0.2
    # 10 % of the way through [0.1, 0.2, 0.4]: position 0.2 -> 0.1 + 0.2 * 0.1
    torch.testing.assert_close(gates.probability("q10", log_probs, mask), torch.tensor([0.12, 0.3]))
    torch.testing.assert_close(gates.probability("token", log_probs, mask), log_probs.exp())


@given(batch=st.integers(1, 5), width=st.integers(1, 7), extra=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_padding_and_batch_order_do_not_change_weights(batch, width, extra, seed):
    log_probs, mask = token_log_probs(batch, width, seed)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    wide = torch.cat([log_probs, torch.zeros(batch, extra)], dim=1)
    wide_mask = torch.cat([mask, torch.zeros(batch, extra, dtype=torch.bool)], dim=1)
    for kind in KINDS:
        g = gates.weights(Gate(kind, 30.0, 0.2), log_probs, mask)
        moved = gates.weights(Gate(kind, 30.0, 0.2), wide[order], wide_mask[order])
        expected = g[order]
        torch.testing.assert_close(moved[:, :width] if kind == "token" else moved, expected)
    torch.testing.assert_close(masked_sum(wide, wide_mask), masked_sum(log_probs, mask))


@given(dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), kind=st.sampled_from(KINDS))
@settings(deadline=None)
def test_weights_are_float32_and_detached_whatever_the_dtype(dtype, kind):
    log_probs, mask = token_log_probs()
    g = gates.weights(Gate(kind, 30.0, 0.2), log_probs.to(dtype).requires_grad_(), mask)
    assert g.dtype == torch.float32
    assert not g.requires_grad
    reference = gates.weights(Gate(kind, 30.0, 0.2), log_probs.to(dtype).float(), mask)
    torch.testing.assert_close(g, reference)


@pytest.mark.parametrize("kind", ["seq", "q10"])
def test_a_response_truncated_to_nothing_is_not_gated_and_one_token_is_enough(kind):
    log_probs = torch.tensor([[-3.0, 0.0], [0.0, 0.0]])
    mask = torch.tensor([[1, 0], [0, 0]])
    g = gates.weights(Gate(kind, 1e6, 0.5), log_probs, mask)
    assert g.tolist() == [0.0, 1.0]


def test_shuffled_keeps_the_distribution_and_breaks_the_pairing():
    log_probs, mask = token_log_probs(batch=64)
    selective = gates.weights(GATES["seq"], log_probs, mask)
    shuffled = gates.weights(GATES["shuffled"], log_probs, mask, torch.Generator().manual_seed(0))
    assert torch.equal(shuffled.sort().values, selective.sort().values)
    assert not torch.equal(shuffled, selective)


def test_shuffled_tokens_stay_within_the_responses():
    log_probs, mask = token_log_probs()
    token = Gate("token", 30.0, 0.2)
    g = gates.weights(token, log_probs, mask)
    shuffled = gates.weights(Gate("shuffled", of=token), log_probs, mask, torch.Generator().manual_seed(0))
    assert torch.equal(shuffled[mask].sort().values, g[mask].sort().values)


def test_matched_constant_has_the_mean_of_its_gate_at_each_step():
    for seed in range(3):
        log_probs, mask = token_log_probs(seed=seed)
        selective = gates.weights(GATES["seq"], log_probs, mask)
        torch.testing.assert_close(gates.weights(GATES["matched"], log_probs, mask), torch.full((6,), selective.mean()))


def test_side_down_leaves_upward_gradients_alone():
    x = torch.tensor([-1.0, -2.0], requires_grad=True)
    g = torch.tensor([0.25, 0.25])
    for sign, expected in ((1.0, 0.25), (-1.0, -1.0)):
        (gradient,) = torch.autograd.grad(sign * gates.apply_gate(x, g, "down").sum(), x)
        assert gradient.tolist() == [expected, expected]


def test_percentile_thresholds_are_resolved_on_the_rejected_probabilities():
    p = torch.linspace(0, 1, 101)
    assert gates.resolve_thresholds(Gate("seq", tau="q25"), p).tau == pytest.approx(0.25)
    assert gates.resolve_thresholds(Gate("shuffled", of=Gate("seq", tau="q90")), p).of.tau == pytest.approx(0.9)


def test_alpha_over_tau_has_no_units():
    p = torch.linspace(0, 1, 101)
    small, large = (gates.resolve_thresholds(Gate("seq", alpha="5/tau", tau="q50"), scale * p) for scale in (1e-3, 1.0))
    assert small.tau == pytest.approx(5e-4)
    assert small.alpha == pytest.approx(1e4)
    assert large.alpha == pytest.approx(10.0)
    assert torch.allclose(gates.weight(1e-3 * p, small.alpha, small.tau), gates.weight(p, large.alpha, large.tau))
    assert gates.resolve_thresholds(Gate("seq", alpha="5/tau", tau=0.1), p).alpha == pytest.approx(50.0)
    assert not Gate("shuffled", of=Gate("seq", alpha="5/tau", tau=0.1)).is_resolved


@pytest.mark.parametrize("alpha", ["five/tau", "5", "0/tau", "5/alpha", "-1/tau"])
def test_an_alpha_that_is_none_says_what_to_write(alpha):
    with pytest.raises(ValueError, match="5/tau"):
        Gate("seq", alpha=alpha)


def test_alpha_over_a_threshold_of_zero_is_refused():
    with pytest.raises(ValueError, match="has no value where tau"):
        gates.resolve_thresholds(Gate("seq", alpha="5/tau", tau=0.0), torch.ones(3))

    with pytest.raises(ValueError, match="resolve"):
        gates.weights(Gate("seq", tau="q25"), *token_log_probs())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "sequence"}, "unknown gate kind 'sequence'"),
        ({"kind": "shuffled"}, "needs `of`"),
        ({"kind": "constant"}, "needs either `value` or `of`"),
        ({"kind": "constant", "value": 0.5, "of": Gate("seq")}, "needs either"),
        ({"kind": "shuffled", "of": Gate()}, "must be a selective gate"),
        ({"kind": "seq", "tau": "50%"}, "not a percentile"),
    ],
)
def test_impossible_gates_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gate(**arguments)


def test_unknown_words_are_value_errors():
    assert issubclass(UnknownWord, ValueError)


NOT_A_GATE = [
    ({"tau": 3.5}, "tau 3.5 is not a probability; write one in [0, 1], or qNN for a percentile"),
    ({"tau": -0.1}, "tau -0.1 is not a probability; write one in [0, 1], or qNN for a percentile"),
    ({"tau": math.nan}, "tau nan is not a probability; write one in [0, 1], or qNN for a percentile"),
    ({"alpha": 0.0}, "alpha 0 does not make a gate; write a number above 0, or 5/tau"),
    ({"alpha": -3.0}, "alpha -3 does not make a gate; write a number above 0, or 5/tau"),
    ({"alpha": math.nan}, "alpha nan does not make a gate; write a number above 0, or 5/tau"),
    ({"alpha": math.inf}, "alpha inf does not make a gate; write a number above 0, or 5/tau"),
    ({"kind": "constant", "value": 1.5}, "value 1.5 is no weight; write one in [0, 1]"),
    ({"kind": "constant", "value": -0.5}, "value -0.5 is no weight; write one in [0, 1]"),
    ({"kind": "constant", "value": math.nan}, "value nan is no weight; write one in [0, 1]"),
    ({"value": 0.5}, "gate seq has no `value`; it belongs to constant"),
    ({"kind": "none", "value": 0.5}, "gate none has no `value`; it belongs to constant"),
    ({"of": Gate("q10")}, "gate seq has no `of`; it belongs to constant and shuffled"),
    ({"kind": "none", "of": Gate("q10")}, "gate none has no `of`; it belongs to constant and shuffled"),
    ({"kind": "shuffled", "of": Gate("q10"), "value": 0.5}, "gate shuffled has no `value`; it belongs to constant"),
    ({"side": "up"}, "unknown gate_side 'up'; expected one of: both, down"),
    ({"probability": "polcy"}, "unknown gate_probability 'polcy'; did you mean 'policy'?"),
]


@pytest.mark.parametrize(("arguments", "sentence"), NOT_A_GATE)
def test_what_makes_no_gate_is_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole sentence is compared)
        Gate(**{"kind": "seq", **arguments})
    assert str(caught.value) == sentence


@pytest.mark.parametrize("arguments", [{"tau": 0.0}, {"tau": 1.0}, {"tau": "q100"}, {"alpha": 1e-9}, {"alpha": 1e30}])
def test_the_ends_of_what_makes_a_gate_are_gates(arguments):
    g = gates.weights(gates.resolve_thresholds(Gate("seq", **arguments), torch.rand(9)), *token_log_probs())
    assert ((g >= 0) & (g <= 1)).all()
