"""Reweighters on every loss: what becomes of C and R, and of the value."""

import math

import pytest
import torch

from gatebench.bench import keys
from gatebench.objectives import gates, reweighters
from gatebench.objectives.gates import Gate
from gatebench.objectives.layout.head import ScaledHead
from gatebench.objectives.reweighters import RC_DECAY, Balance, balance, clamped, clip_weights
from gatebench.objectives.trl.incentives import head_gradient
from tests.cases import LOSSES, batch_from, token_log_probs


def gradients(case, reweigh):
    """(value, C of the tokens, R of the tokens) of a batch whose two sides are token log-probs."""
    loss, parameters = LOSSES[case]
    rejected, mask = token_log_probs()
    chosen, chosen_mask = token_log_probs(seed=3)
    rejected.requires_grad_()
    chosen.requires_grad_()
    left, right = reweigh(chosen, rejected, chosen_mask, mask)
    pairs = batch_from((right * mask), mask)
    pairs = type(pairs)(
        (left * chosen_mask).sum(dim=1), pairs.rejected, pairs.ref_chosen, pairs.ref_rejected, chosen_mask.sum(dim=1),
        pairs.rejected_tokens, pairs.progress,
    )  # fmt: skip
    value = loss.function(pairs, parameters)
    found = torch.autograd.grad(value.sum(), (chosen, rejected), allow_unused=True)
    filled = [torch.zeros_like(x) if g is None else g for g, x in zip(found, (chosen, rejected), strict=True)]
    return value.detach(), *filled


def untouched(chosen, rejected, *_):
    return chosen, rejected


@pytest.mark.parametrize("case", LOSSES)
def test_clip_cuts_r_to_its_bound_and_touches_nothing_else(case):
    value, left, right = gradients(case, untouched)
    bound = max(right.abs().median().item(), 1e-3)

    def clip(chosen, rejected, chosen_mask, mask):
        r = right.gather(1, right.abs().argmax(dim=1, keepdim=True)).squeeze(1)
        return chosen, gates.apply_gate(rejected, clip_weights(r, bound)[:, None].double())

    clipped, c, r = gradients(case, clip)
    assert torch.equal(clipped, value)
    assert torch.equal(c, left)
    torch.testing.assert_close(r, right.clamp(-bound, bound), rtol=1e-6, atol=0)


@pytest.mark.parametrize("case", LOSSES)
def test_rc_multiplies_c_and_divides_r_by_alpha(case):
    value, left, right = gradients(case, untouched)
    found, c, r = gradients(
        case, lambda chosen, rejected, *_: (
            gates.apply_gate(chosen, torch.tensor(1.7)), gates.apply_gate(rejected, torch.tensor(1 / 1.7)),
        ),
    )  # fmt: skip
    assert torch.equal(found, value)
    torch.testing.assert_close(c, 1.7 * left)
    torch.testing.assert_close(r, right / 1.7)


@pytest.mark.parametrize("case", LOSSES)
def test_humanline_clamps_the_value_and_leaves_no_gradient_outside_its_band(case):
    band = (-0.4, 0.3)
    references = token_log_probs(seed=7)[0], token_log_probs(seed=8)[0]

    def human(chosen, rejected, chosen_mask, mask):
        return clamped(chosen, references[0] * chosen_mask, band), clamped(rejected, references[1] * mask, band)

    def by_hand(chosen, rejected, chosen_mask, mask):
        sides = []
        for own, reference in ((chosen, references[0] * chosen_mask), (rejected, references[1] * mask)):
            sides.append(reference + (own - reference).clamp(*band))
        return tuple(sides)

    value, c, r = gradients(case, human)
    expected, left, right = gradients(case, by_hand)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(c, left)
    torch.testing.assert_close(r, right)
    rejected, mask = token_log_probs()
    outside = ~reweighters.inside(rejected, references[1] * mask, band)
    assert outside.any()
    assert (r[outside] == 0).all()


def test_humanline_keeps_every_bit_of_a_log_prob_inside_its_band():
    x, reference = -3 * torch.rand(1000), -3 * torch.rand(1000)
    inside = reweighters.inside(x, reference, (-1.0, 1.5))
    assert 0 < inside.sum() < 1000
    assert torch.equal(clamped(x, reference, (-1.0, 1.5))[inside], x[inside])
    assert torch.equal(clamped(x, x, (-1.0, 1.5)), x)


def test_a_pair_without_a_pull_has_nothing_to_clip():
    assert clip_weights(torch.tensor([0.0, 0.5, -2.0]), 1.0).tolist() == [1.0, 1.0, 0.5]


def test_rc_by_hand():
    """alpha = sqrt(r* / r); the averages are of the logs."""
    first = balance(None, (2.0, 8.0), (3.0, 27.0))  # r = 1/4, r* = 9
    assert first.alpha == pytest.approx(6.0)
    second = balance(first, (5.0, 5.0), (7.0, 7.0))
    assert second == Balance(RC_DECAY * math.log(0.25), RC_DECAY * math.log(9))
    assert second.alpha == pytest.approx(36 ** (RC_DECAY / 2))


@pytest.mark.parametrize("nothing", [((0.0, 1.0), (1.0, 1.0)), ((1.0, 0.0), (1.0, 1.0)), ((1.0, 1.0), (0.0, 1.0))])
def test_a_step_that_has_no_ratio_leaves_rc_as_it_is(nothing):
    before = Balance(0.1, 0.2)
    assert balance(before, *nothing) is before
    assert balance(None, *nothing) is None


@pytest.mark.parametrize("numbers", [(1.0, None), (0.5, None), (1.0, 4.0)], ids=["plain", "scaled", "capped"])
def test_the_heads_gradient_is_that_of_outer_products(numbers, monkeypatch):
    scale, cap = numbers
    monkeypatch.setattr("gatebench.objectives.trl.incentives.HEAD_LOGITS", 20)  # two tokens at a time
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 10, bias=False).double()
    states, targets = torch.randn(7, 5).double(), torch.randint(10, (7,))
    raw = states @ linear.weight.detach().T * scale
    logits = raw if cap is None else cap * torch.tanh(raw / cap)
    slope = torch.ones_like(raw) if cap is None else 1 - torch.tanh(raw / cap) ** 2
    missing = torch.eye(10).double()[targets] - logits.softmax(dim=1)
    expected = (missing * slope * scale).T @ states
    torch.testing.assert_close(head_gradient(ScaledHead(linear, scale, cap), states, targets).double(), expected,
                               atol=1e-6, rtol=1e-5)  # fmt: skip


CLIP, HUMAN = Gate("clip", bound=0.5), Gate("humanline")
NOT_A_REWEIGHTER = [
    ({"kind": "clip"}, "gate clip needs `bound`, the size that the gradient of a rejected response is cut to"),
    ({"kind": "clip", "bound": 0.0}, "bound 0 is no size of a gradient; write a number above 0"),
    ({"kind": "seq", "bound": 1.0}, "gate seq has no `bound`; it belongs to clip"),
    ({"kind": "clip", "bound": 1.0, "alpha": 7.0}, "gate clip has no `alpha`; it belongs to gates by a probability"),
    ({"kind": "rc", "tau": 0.3}, "gate rc has no `tau`; it belongs to gates by a probability"),
    ({"kind": "clip", "bound": 1.0, "value": 0.5}, "gate clip has no `value`; it belongs to constant"),
    ({"kind": "seq", "band": (-2.0, 1.0)}, "gate seq has no `band`; it belongs to humanline"),
    ({"kind": "humanline", "band": (0.5, 1.5)},
     "band [0.5, 1.5] leaves no token; write a log-ratio below 0 and one above it"),
    ({"kind": "humanline", "side": "down"}, "gate humanline: humanline acts on both responses; leave out side down"),
    ({"kind": "constant", "of": HUMAN, "side": "down"},
     "gate constant: humanline acts on both responses; leave out side down"),
    ({"kind": "rc", "value": 0.0}, "value 0 is no alpha of rc; write a number above 0"),
    ({"kind": "shuffled", "of": Gate("rc")},
     "gate shuffled: rc gives all pairs of a step the same weights, so its shuffled is rc itself; for an alpha that "
     "stays as it is write kind rc with a `value`"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), NOT_A_REWEIGHTER)
def test_what_makes_no_reweighter_is_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole sentence is compared)
        Gate(**arguments)
    assert str(caught.value) == sentence


def test_reweighters_are_equal_where_they_act_alike_and_move_no_key_of_a_gate():
    assert Gate("clip", bound=0.5) == CLIP != Gate("clip", bound=0.25)
    assert Gate("humanline", band=(-1.0, 1.5)) == HUMAN != Gate("humanline", band=(-1.0, 2.0))
    assert Gate("constant", of=CLIP) != Gate("constant", of=Gate("clip", bound=0.25))
    assert Gate("rc") != Gate("rc", value=2.0)
    assert set(keys.canonical(Gate("seq"))) == {"kind", "alpha", "tau", "side", "probability", "value", "of"}
    assert keys.digest(CLIP) != keys.digest(Gate("clip", bound=0.25))
    with pytest.raises(ValueError, match="do not follow from log-probs alone"):
        gates.weights(CLIP, *token_log_probs())
