"""The gate's rivals: MATHS.md's golden values and gradients at both points, limits, and unusual pairs."""

import pytest
import torch

from gatebench.objectives.losses.reference_free.orpo import LIKELIEST, log_odds
from gatebench.objectives.losses.whole_batch import running_mean_and_std
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import get_loss

POINTS = {"A": (-50.0, -62.0, -52.0, -60.0), "B": (-55.0, -70.0, -52.0, -60.0)}
GOLDEN = [
    ("dpop", {"beta": 0.1, "lam": 5}, "A", 0.5130152524, -0.0401312340, 0.0401312340),
    ("dpop", {"beta": 0.1, "lam": 5}, "B", 1.1711006659, -0.4139846887, 0.0689974481),
    ("simpo", {"beta": 2, "gamma": 1}, "A", 1.3426603474, -0.0738850006, 0.0591080005),
    ("simpo", {"beta": 2, "gamma": 1}, "B", 1.2411538747, -0.0710949503, 0.0568759602),
    ("cpo", {"beta": 0.1, "alpha": 1}, "A", 2.7632824673, -0.0731475217, 0.0231475217),
    ("cpo", {"beta": 0.1, "alpha": 1}, "B", 2.9514132780, -0.0682425524, 0.0182425524),
    ("orpo", {"lam": 0.1}, "A", 2.5704110703, -0.0527532605, 0.0022065946),
    ("orpo", {"lam": 0.1}, "B", 2.8166839990, -0.0525995425, 0.0020727303),
    ("r_dpo", {"beta": 0.1, "alpha": 0.01}, "A", 0.4932489460, -0.0389360766, 0.0389360766),
    ("r_dpo", {"beta": 0.1, "alpha": 0.01}, "B", 0.3868710061, -0.0320821301, 0.0320821301),
    ("bdpo", {"beta": 0.1, "lam": 0.5}, "A", 0.5730455840, -0.0436194296, 0.0051995635),
    ("bdpo", {"beta": 0.1, "lam": 0.5}, "B", 0.8151296171, -0.0557418043, 0.0000025306),
    ("bpo", {"beta": 0.1, "alpha": 0.3}, "A", 0.6635971131, 0.0, 0.0145501350),
    ("bpo", {"beta": 0.1, "alpha": 0.3}, "B", 0.8543552445, -0.0574442517, 0.0),
    ("slic", {"delta": 1, "lam": 0.1, "length": "mean"}, "A", 1.27, -0.055, 0.04),
]


def at(point, dtype=torch.float64):
    values = [torch.tensor([value], dtype=dtype, requires_grad=place < 2) for place, value in enumerate(point)]
    return PairLogProbs(*values, torch.tensor([20]), torch.tensor([25]))


def several(seed=0, dtype=torch.float64, pairs=7):
    generator = torch.Generator().manual_seed(seed)
    values = [-60 * torch.rand(pairs, generator=generator, dtype=dtype) for _ in range(4)]
    lengths = [torch.randint(1, 30, (pairs,), generator=generator) for _ in range(2)]
    return PairLogProbs(*(value.requires_grad_(place < 2) for place, value in enumerate(values)), *lengths)


def value_and_gradients(name, parameters, pairs):
    loss = get_loss(name)
    found = loss.function(pairs, loss.make_parameters(**parameters))
    sides = (pairs.chosen, pairs.rejected)
    return found, *torch.autograd.grad(found.sum(), sides, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize(("name", "parameters", "point", "value", "chosen", "rejected"), GOLDEN)
def test_golden_value_and_gradients(name, parameters, point, value, chosen, rejected):
    found = value_and_gradients(name, parameters, at(POINTS[point]))
    assert found[0].shape == (1,)
    assert [part.item() for part in found] == pytest.approx([value, chosen, rejected], rel=1e-9, abs=5e-11)


LIMITS = [
    ("dpop", {"beta": 0.1, "lam": 0}, "dpo", {"beta": 0.1}),
    ("bdpo", {"lam": 1}, "dpo", {}),
    ("r_dpo", {"alpha": 0}, "dpo", {}),
    ("beta_dpo", {"a": 0, "keep": 1}, "dpo", {}),
    ("alpha_dpo", {"beta": 2, "gamma": 1, "alpha": 0}, "simpo", {"beta": 2, "gamma": 1}),
]


@pytest.mark.parametrize(("name", "parameters", "limit", "plain"), LIMITS)
def test_in_its_limit_it_is_the_plainer_loss_in_value_and_gradients(name, parameters, limit, plain):
    for found, expected in zip(
        value_and_gradients(name, parameters, several()), value_and_gradients(limit, plain, several()), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_what_is_left_of_a_rival_whose_strength_is_zero():
    pairs = several()
    found, *_ = value_and_gradients("cpo", {"beta": 0.2, "alpha": 0}, pairs)
    torch.testing.assert_close(found, -torch.nn.functional.logsigmoid(0.2 * (pairs.chosen - pairs.rejected)))
    found, *_ = value_and_gradients("simpo", {"beta": 3, "gamma": 0}, pairs)
    lead = pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens
    torch.testing.assert_close(found, -torch.nn.functional.logsigmoid(3 * lead))
    found, *_ = value_and_gradients("orpo", {"lam": 0}, pairs)
    torch.testing.assert_close(found, value_and_gradients("nll", {}, pairs)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odds_are_exact_from_the_unlikely_to_the_nearly_certain_and_finite_beyond(dtype):
    x = torch.tensor([-200.0, -20.0, -1.0, -0.7, -0.69, -1e-3, LIKELIEST, -1e-9, 0.0], dtype=dtype, requires_grad=True)
    found = log_odds(x)
    exact = x.detach().double().clamp(max=LIKELIEST)
    torch.testing.assert_close(found.double(), exact - torch.log(-torch.expm1(exact)), rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient.double()[:6], (-1 / torch.expm1(exact))[:6], rtol=1e-4, atol=0)
    assert torch.isfinite(gradient).all()
    assert gradient[-1] == 0


NAMES = ("dpop", "bdpo", "bpo", "r_dpo", "simpo", "cpo", "orpo", "slic", "nll", "alpha_dpo", "beta_dpo")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unusual_pairs_have_finite_values_and_gradients(name, dtype):
    """Equal sides; one token; a certain one; ratios of thousands of nats either way; a response cut to nothing."""
    rows = [
        (-50, -50, -50, -50, 20, 20), (-3, -4, -3, -4, 1, 1), (0, -5, -1, -5, 1, 3), (-5, 0, -5, -1, 3, 1),
        (-9000, -10, -10, -9000, 50, 50), (-10, -9000, -9000, -10, 50, 50), (0, 0, 0, 0, 0, 0), (-4, 0, -4, 0, 3, 0),
    ]  # fmt: skip
    *sums, chosen_tokens, rejected_tokens = torch.tensor(rows).T
    chosen, rejected = (side.to(dtype).requires_grad_() for side in sums[:2])
    pairs = PairLogProbs(chosen, rejected, *(side.to(dtype) for side in sums[2:]), chosen_tokens, rejected_tokens)
    for part in value_and_gradients(name, {}, pairs):
        assert torch.isfinite(part).all()
        assert part.dtype == dtype


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("alpha_dpo", "beta_dpo")])
def test_a_rejected_response_that_is_impossible_makes_no_nan(name):
    value, chosen, rejected = value_and_gradients(name, {}, at((-50.0, -torch.inf, -52.0, -60.0)))
    assert not any(part.isnan().any() for part in (value, chosen, rejected))


@pytest.mark.parametrize("rounding", [0.0, 1e-5, -1e-5])
def test_at_a_kink_which_is_where_training_begins_rounding_decides_nothing(rounding):
    start = at((-52.0 + rounding, -60.0, -52.0, -60.0))
    _, chosen, rejected = value_and_gradients("bpo", {"beta": 0.1, "alpha": 0.3}, start)
    assert [chosen.item(), rejected.item()] == pytest.approx([-0.025, 0.3 * 0.025], rel=1e-5)
    _, chosen, rejected = value_and_gradients("dpop", {"beta": 0.1, "lam": 5}, start)
    assert [chosen.item(), rejected.item()] == pytest.approx([-0.05, 0.05], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("bdpo", {"lam": 0}, "bdpo's lam 0 is no share of the policy"),
        ("bdpo", {"lam": 1.5}, "bdpo's lam 1.5 is no share of the policy"),
        ("beta_dpo", {"keep": 0}, "beta_dpo's keep 0 is no share of a batch"),
        ("slic", {"length": "meen"}, "did you mean 'mean'"),
    ],
)
def test_a_parameter_without_meaning_is_refused(name, parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        get_loss(name).make_parameters(**parameters)


def test_running_numbers_begin_as_the_first_batch_and_follow_the_next():
    assert running_mean_and_std(torch.tensor([1e-6, 3e-6]), (), 1e-5) == ()
    assert running_mean_and_std(torch.tensor([5.0]), (), 1e-5) == ()
    first = running_mean_and_std(torch.tensor([1.0, 3.0]), (), 1e-5)
    assert first == pytest.approx((2.0, 2**0.5))
    second = running_mean_and_std(torch.tensor([12.0, 12.0, 15.0]), first, 1e-5)
    assert second == pytest.approx((0.9 * 2 + 0.1 * 13, 0.9 * 2**0.5 + 0.1 * 3**0.5))
    assert running_mean_and_std(torch.tensor([9.0]), second, 1e-5) == second


def test_alpha_dpo_asks_more_of_the_pairs_whose_gap_is_wide_already():
    pairs = several()
    loss = get_loss("alpha_dpo")
    gap = pairs.chosen_ratio_per_token - pairs.rejected_ratio_per_token
    z = (gap - gap.mean()) / gap.std()
    expected = get_loss("simpo").function(pairs, get_loss("simpo").make_parameters(beta=2.5, gamma=1.5))
    moved = loss.function(pairs, loss.make_parameters()) - expected
    assert torch.equal(moved > 0, z > 0)
    lead = pairs.chosen_per_token - pairs.rejected_per_token
    by_hand = -torch.nn.functional.logsigmoid(2.5 * (lead - (0.6 + 0.2 * z)))  # as the official code writes it
    torch.testing.assert_close(loss.function(pairs, loss.make_parameters()), by_hand)


@pytest.mark.parametrize(("name", "plain"), [("alpha_dpo", "simpo"), ("beta_dpo", "dpo")])
def test_where_the_policy_is_its_reference_up_to_rounding_nothing_is_made_of_that(name, plain):
    pairs = several()
    start = PairLogProbs(pairs.chosen, pairs.rejected, pairs.chosen.detach() + torch.randn(7).double() * 1e-6,
                         pairs.rejected.detach(), pairs.chosen_tokens, pairs.rejected_tokens)  # fmt: skip
    loss = get_loss(name)
    assert loss.of_batch(start.detached(), loss.make_parameters(), (), None).kept == ()
    found = value_and_gradients(name, {} if name == "beta_dpo" else {"beta": 2, "gamma": 1}, start)
    for mine, other in zip(found, value_and_gradients(plain, {}, start), strict=True):
        torch.testing.assert_close(mine, other)


def test_beta_dpo_is_dpo_at_the_batchs_own_beta():
    pairs, loss = several(pairs=16), get_loss("beta_dpo")
    parameters = loss.make_parameters(a=0.02, keep=0.75)
    found = loss.of_batch(pairs.detached(), parameters, (1.0, 30.0), torch.Generator().manual_seed(5))
    beta, counts = found.rows.unbind(dim=1)
    assert sorted(counts.tolist()) == [0.0] * 4 + [16 / 12] * 12
    gap = pairs.margin.detach()
    mean = 0.9 * 1.0 + 0.1 * float(gap.mean())
    assert found.kept[0] == pytest.approx(mean)
    assert beta[0].item() == pytest.approx(max(1e-3, 0.1 * (1 + 0.02 * (float(gap[counts > 0].mean()) - mean))))
    again = loss.of_batch(pairs.detached(), parameters, (1.0, 30.0), torch.Generator().manual_seed(5))
    assert torch.equal(found.rows, again.rows)


def test_beta_dpo_leaves_out_the_far_pairs_more_often():
    gap = torch.tensor([0.0, 1.0, -1.0, 0.5, 8.0], dtype=torch.float64)
    zero, tokens = torch.zeros(5, dtype=torch.float64), torch.full((5,), 9)
    loss = get_loss("beta_dpo")
    left_out = torch.zeros(5)
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        rows = loss.of_batch(PairLogProbs(gap, zero, zero, zero, tokens, tokens), loss.make_parameters(),
                             (0.0, 1.0), generator).rows  # fmt: skip
        left_out += rows[:, 1] == 0
    assert left_out[4] > 200
    assert (left_out[:4] < 60).all()
