"""Golden values (derived by hand in MATHS.md), gradients, and the equivalences between losses."""

import pytest
import torch

from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import get_loss
from tests.cases import LOSSES, batch_from, golden_pair, token_log_probs
from tests.conformance.loss import of_batch

GOLDEN = [
    ("dpo", {"beta": 0.1}, 0.5130152524, -0.0401312340, 0.0401312340),
    ("ipo", {"beta": 0.1, "length": "sum"}, 1.0, -2.0, 2.0),
    ("ipo", {"beta": 0.1, "length": "mean"}, 23.2324, -0.482, 0.3856),
    ("cal_dpo", {"beta": 0.1}, 18.0181499279, -6.0179862100, 6.0179862100),
    ("cal_dpo", {"beta": 0.001}, 496008.01815, -996.018, 996.018),
    ("dpo_shift", {"beta": 0.1, "lam": 0.95}, 0.5170403967, -0.0403717301, 0.0383531436),
    ("sft", {"length": "sum"}, 50.0, -1.0, 0.0),
]


@pytest.mark.parametrize(("name", "parameters", "value", "chosen", "rejected"), GOLDEN)
def test_golden_value_and_gradients(name, parameters, value, chosen, rejected):
    pairs = golden_pair(requires_grad=True)
    loss = get_loss(name)
    found = loss.function(pairs, loss.make_parameters(**parameters))
    assert found.shape == (1,)
    gradients = torch.autograd.grad(found.sum(), (pairs.chosen, pairs.rejected), allow_unused=True)
    digits = 1e-8 if name != "cal_dpo" or parameters["beta"] > 0.01 else 1e-6
    assert found.item() == pytest.approx(value, rel=digits)
    assert gradients[0].item() == pytest.approx(chosen, rel=1e-6)
    assert (0.0 if gradients[1] is None else gradients[1].item()) == pytest.approx(rejected, rel=1e-6)


@pytest.mark.parametrize("case", LOSSES)
def test_gradcheck_in_float64(case):
    loss, parameters = LOSSES[case]
    generator = torch.Generator().manual_seed(3)
    values = [-10 * torch.rand(5, generator=generator, dtype=torch.float64) for _ in range(4)]
    lengths = torch.tensor([1, 2, 3, 4, 5])

    known = of_batch(loss, parameters, PairLogProbs(*values, lengths, lengths + 1))

    def function(chosen, rejected):
        pairs = PairLogProbs(chosen, rejected, *values[2:], lengths, lengths + 1, 0.3, of_batch=known)
        return loss.function(pairs, parameters)

    assert torch.autograd.gradcheck(function, [v.requires_grad_() for v in values[:2]])


@pytest.mark.parametrize("case", LOSSES)
def test_batch_order_does_not_matter(case):
    loss, parameters = LOSSES[case]
    rejected, mask = token_log_probs()
    pairs = batch_from(rejected, mask)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    fields = ("chosen", "rejected", "ref_chosen", "ref_rejected", "chosen_tokens", "rejected_tokens")
    moved = PairLogProbs(*(getattr(pairs, name)[order] for name in fields), pairs.progress)
    expected, found = loss.function(pairs, parameters), loss.function(moved, parameters)
    if case.startswith("trl:aot"):  # these compare sorted batches: the multiset is what is kept
        expected, found = expected.sort().values, found.sort().values
        torch.testing.assert_close(found, expected)
    else:
        torch.testing.assert_close(found, expected[order])


@pytest.mark.parametrize("case", LOSSES)
def test_a_fully_truncated_response_gives_a_finite_loss(case):
    loss, parameters = LOSSES[case]
    zero, tokens = torch.zeros(2), torch.zeros(2, dtype=torch.long)
    some = torch.tensor([3, 0])
    found = loss.function(PairLogProbs(torch.tensor([-4.0, 0.0]), zero, zero, zero, some, tokens), parameters)
    assert torch.isfinite(found).all()


def test_dpo_shift_with_lambda_one_is_dpo():
    pairs = golden_pair()
    shifted, plain = get_loss("dpo_shift"), get_loss("dpo")
    torch.testing.assert_close(
        shifted.function(pairs, shifted.make_parameters(beta=0.1, lam=1.0)),
        plain.function(pairs, plain.make_parameters(beta=0.1)),
    )


def test_dpo_shift_schedules_run_between_their_bounds():
    from gatebench.objectives.losses.dpo_shift import DPOShift, shift

    up, down = DPOShift(lam=0.5, schedule="linear_up"), DPOShift(lam=0.5, schedule="linear_down")
    assert [shift(up, t) for t in (0.0, 0.5, 1.0)] == [0.5, 0.75, 1.0]
    assert [shift(down, t) for t in (0.0, 0.5, 1.0)] == [1.0, 0.75, 0.5]
    assert shift(DPOShift(lam=0.5), 0.9) == 0.5


def test_the_calibration_term_of_cal_dpo_is_sppo_hard():
    pairs = golden_pair()
    cal, sppo, dpo = get_loss("cal_dpo"), get_loss("trl:sppo_hard"), get_loss("dpo")
    preference = dpo.function(pairs, dpo.make_parameters(beta=1.0))
    torch.testing.assert_close(
        cal.function(pairs, cal.make_parameters(beta=0.1)) - preference,
        sppo.function(pairs, sppo.make_parameters(beta=0.1)),
    )


def test_ipo_on_means_and_sums_agree_when_beta_is_scaled_by_the_length():
    pairs = PairLogProbs(*(torch.tensor([v]) for v in (-50.0, -62.0, -52.0, -60.0)), *[torch.tensor([20])] * 2)
    ipo = get_loss("ipo")
    mean = ipo.function(pairs, ipo.make_parameters(beta=2.0, length="mean"))
    total = ipo.function(pairs, ipo.make_parameters(beta=0.1, length="sum"))
    torch.testing.assert_close(mean * 20**2, total)


def test_cautions_speak_only_where_a_run_would_be_lost():
    cal, ipo = get_loss("cal_dpo"), get_loss("ipo")
    assert "drowns" in cal.caution(cal.make_parameters(beta=0.001))
    assert cal.caution(cal.make_parameters(beta=0.1)) is None
    assert "5 nats per token" in ipo.caution(ipo.make_parameters(beta=0.1))
    assert ipo.caution(ipo.make_parameters(beta=1.0)) is None
    assert ipo.caution(ipo.make_parameters(beta=0.1, length="sum")) is None


def test_mistyped_names_get_the_nearest_word():
    with pytest.raises(UnknownWord, match="did you mean 'cal_dpo'"):
        get_loss("caldpo")
    with pytest.raises(UnknownWord, match="did you mean 'beta'"):
        get_loss("dpo").make_parameters(betta=1)


def test_shapes_are_checked_before_arithmetic():
    with pytest.raises(ValueError, match=r"ref_chosen must have shape \(2,\), got \(3,\)"):
        PairLogProbs(torch.zeros(2), torch.zeros(2), torch.zeros(3), *[torch.zeros(2)] * 3)
    exo = get_loss("trl:exo_pair")
    with pytest.raises(ValueError, match="label_smoothing"):
        exo.function(golden_pair(), exo.make_parameters())
