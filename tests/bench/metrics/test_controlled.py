"""Rates from a fitted curve: against an independent fit, a case in closed form, and coverage on simulated verdicts."""

import numpy
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from gatebench.bench.analysis.statistics import draws, estimate
from gatebench.bench.metrics.controlled import INVERSE_RIDGE, controlled_wins, scaled, weighted_wins


def drawn(seed, prompts=300, kept=2):
    """Verdicts by a known curve: (wins in both orders, weights, held equal, kept)."""
    rng = numpy.random.default_rng(seed)
    held = numpy.tanh(rng.normal(0.5, 1, (prompts, 1)))
    own = numpy.hstack([rng.normal(size=(prompts, kept - 1)), numpy.ones((prompts, 1))])
    chance = expit(1.5 * held[:, 0] + own @ numpy.array([0.8, -0.4])[-kept:])
    return rng.binomial(2, chance) / 2, rng.choice([1.0, 3.0], prompts), held, own


def by_hand(wins, weights, held, kept):
    """The same rate by another library and another method: the likelihood written out, made largest by BFGS."""
    features = numpy.hstack([held, kept])

    def loss(coefficients):
        logits = features @ coefficients
        return weights @ (numpy.logaddexp(0, logits) - wins * logits) + coefficients @ coefficients / 2 / INVERSE_RIDGE

    found = minimize(loss, numpy.zeros(features.shape[1]), method="BFGS", options={"gtol": 1e-8}).x
    rates = expit(numpy.hstack([numpy.zeros_like(held), kept]) @ found)
    return weights @ rates / weights.sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_rate_is_that_of_an_independent_fit(seed, weighted):
    wins, weights, held, kept = drawn(seed)
    weights = weights if weighted else numpy.ones_like(weights)
    found = controlled_wins(wins, weights, held, kept).mean()
    assert found == pytest.approx(by_hand(wins, weights, held, kept), abs=1e-5)


def test_with_two_lengths_the_rate_is_half_way_between_their_odds():
    """The curve goes through both shares, so that in the middle its log-odds are the mean of theirs."""
    lengths = numpy.repeat([1.0, -1.0], 400)[:, None]
    wins = numpy.concatenate([numpy.repeat([1.0, 0.0], [320, 80]), numpy.repeat([1.0, 0.0], [120, 280])])
    found = controlled_wins(wins, numpy.ones(800), lengths, numpy.ones((800, 1))).mean()
    assert found == pytest.approx(expit((logit(0.8) + logit(0.3)) / 2), abs=1e-3)


def test_its_spread_is_that_of_the_rate_when_prompts_are_drawn_again():
    wins, weights, held, kept = drawn(0)
    own = controlled_wins(wins, weights, held, kept)
    rng = numpy.random.default_rng(1)
    again = [by_hand(wins[i], weights[i], held[i], kept[i]) for i in rng.integers(0, 300, (200, 300))]
    assert own.std(ddof=1) / 300**0.5 == pytest.approx(numpy.std(again), rel=0.15)


@pytest.mark.parametrize("prompts", [60, 300])
def test_the_interval_covers_the_rate_of_the_curve_that_verdicts_are_drawn_from(prompts):
    rate, covered, trials = expit(-0.4), 0, 300
    for seed in range(trials):
        wins, _, held, kept = drawn(seed, prompts, kept=1)
        own = controlled_wins(wins, numpy.ones(prompts), held, kept)
        found = estimate(draws(own[None, None], resamples=1000), lambda means: means[0])
        covered += found.lo <= rate <= found.hi
    assert 0.92 <= covered / trials <= 0.98


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_policy_that_always_wins_or_never_has_a_finite_curve(share):
    found = controlled_wins(numpy.full(40, share), numpy.ones(40), numpy.linspace(-1, 1, 40)[:, None],
                            numpy.ones((40, 1)))  # fmt: skip
    assert numpy.isfinite(found).all()
    assert found.mean() == pytest.approx(share, abs=0.01)


def test_a_weighted_mean_has_the_value_and_the_error_of_a_ratio():
    wins, weights, *_ = drawn(3)
    own = weighted_wins(wins, weights)
    assert own.mean() == pytest.approx(weights @ wins / weights.sum())
    rng = numpy.random.default_rng(1)
    again = [weights[i] @ wins[i] / weights[i].sum() for i in rng.integers(0, 300, (2000, 300))]
    assert own.std(ddof=1) / 300**0.5 == pytest.approx(numpy.std(again), rel=0.1)


def test_columns_are_scaled_and_not_moved():
    numpy.testing.assert_allclose(scaled(numpy.array([[1.0], [3.0]])), numpy.array([[1.0], [3.0]]) / 2**0.5)
    numpy.testing.assert_array_equal(scaled(numpy.full((5, 1), -7.0)), -1)
    numpy.testing.assert_array_equal(scaled(numpy.zeros((1, 2))), 0)


def test_the_rate_at_equal_length_of_answers_that_are_always_longer_cannot_be_told():
    """Nothing tells the part of the length from the policy's own."""
    wins, ones = numpy.tile([1.0, 0.0, 0.0], 10), numpy.ones(30)
    assert numpy.isnan(controlled_wins(wins, ones, scaled(numpy.full((30, 1), 12.0)), ones[:, None])).all()
    assert numpy.isnan(controlled_wins(wins[:1], ones[:1], scaled(numpy.full((1, 1), 12.0)), ones[:1, None])).all()
    equal = controlled_wins(wins, ones, scaled(numpy.zeros((30, 1))), ones[:, None])
    assert equal.mean() == pytest.approx(1 / 3, abs=1e-3)
