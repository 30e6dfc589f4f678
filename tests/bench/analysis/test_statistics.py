"""The statistics by hand, and their promises on simulated data: coverage, and errors under the null."""

import numpy as np
import pytest

from gatebench.bench.analysis import statistics

RNG = np.random.default_rng(7)


def simulate(rng, seeds, probes, effect=0.7, spread=(1.0, 2.0, 1.0), cells=1):
    """[C, S, P]: effect + seed + probe + residual, normal with the given standard deviations."""
    by_seed = spread[0] * rng.standard_normal((cells, seeds, 1))
    by_probe = spread[1] * rng.standard_normal((cells, 1, probes))
    return effect + by_seed + by_probe + spread[2] * rng.standard_normal((cells, seeds, probes))


def mean_of(drawn, cell):
    return statistics.estimate(drawn.only([cell]), lambda means: means[0])


TRIALS = 3000  # the count of 1000 itself wanders by 0.7 percentage points
AT_ONCE = 50  # trials that share their resamples, which are what takes the time


def coverage(seeds, probes, spread):
    """The share of trials in which the 95 % interval holds the true mean."""
    rng = np.random.default_rng(11)
    held = 0
    for start in range(0, TRIALS, AT_ONCE):
        values = simulate(rng, seeds, probes, spread=spread, cells=AT_ONCE)
        drawn = statistics.draws(values, resamples=1000, seed=start)
        for trial in range(AT_ONCE):
            found = mean_of(drawn, trial)
            held += found.lo <= 0.7 <= found.hi
    return held / TRIALS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "probes", "spread"),  # spreads of seeds, probes and residuals
    [(1, 100, (0.0, 2.0, 1.0)), (3, 100, (1.0, 1.0, 1.0)), (5, 100, (1.0, 3.0, 1.0))],
)
def test_the_interval_holds_the_truth_93_to_97_percent_of_the_times(seeds, probes, spread):
    assert 0.93 <= coverage(seeds, probes, spread) <= 0.97


@pytest.mark.slow
def test_where_three_seeds_and_probes_matter_alike_the_interval_errs_on_the_wide_side():
    assert 0.93 <= coverage(3, 500, (0.5, 5.0, 2.0)) <= 0.99


@pytest.mark.slow
def test_a_null_claim_is_supported_at_most_5_percent_of_the_time_after_holm():
    rng = np.random.default_rng(13)
    supported = significant = 0
    for start in range(0, 1000, AT_ONCE):
        values = simulate(rng, 3, 50, effect=0.0, cells=4 * AT_ONCE)
        drawn = statistics.draws(values, resamples=500, seed=start)
        for trial in range(AT_ONCE):
            contrasts = [mean_of(drawn, cell) for cell in range(4 * trial, 4 * trial + 4)]
            adjusted = statistics.holm([c.p for c in contrasts])
            supported += statistics.verdict([c.value for c in contrasts], adjusted, 1) == "supported"
            significant += min(adjusted) < 0.05
    assert supported <= 50
    assert significant <= 50  # the family-wise error of four contrasts


def test_paired_differences_are_narrower_than_their_parts():
    shared = 10 * RNG.standard_normal((1, 1, 200))
    values = np.concatenate([shared + 1, shared]) + 0.1 * RNG.standard_normal((2, 3, 200))
    drawn = statistics.draws(values)
    difference = statistics.difference(drawn, 0, 1)
    assert difference.value == pytest.approx(1.0, abs=0.05)
    assert difference.hi - difference.lo < 0.1 * (mean_of(drawn, 0).hi - mean_of(drawn, 0).lo)


def test_draws_are_deterministic_by_seed():
    values = simulate(RNG, 3, 20)
    one, two, three = (mean_of(statistics.draws(values, seed=s), 0) for s in (1, 1, 2))
    assert one == two
    assert one != three


def test_one_seed_and_identical_values():
    found = mean_of(statistics.draws(np.full((1, 1, 10), 2.0)), 0)
    assert (found.value, found.lo, found.hi) == pytest.approx((2.0, 2.0, 2.0))
    assert mean_of(statistics.draws(np.zeros((1, 1, 10))), 0).p == 1.0


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "adjusted", "expected"),
    [
        ([1, 2], [0.01, 0.04], "supported"),
        ([1, 2], [0.01, 0.06], "undecided"),
        ([1, -2], [0.01, 0.04], "refuted"),
        ([1, -2], [0.01, 0.06], "undecided"),
    ],
)
def test_verdicts(values, adjusted, expected):
    assert statistics.verdict(values, adjusted, 1) == expected


def test_power_and_the_detectable_effect_agree():
    design = statistics.Design(seed_error=0.0, probe_error=0.5, seeds=1, probes=100_000)
    effect = design.detectable()
    assert effect == pytest.approx((1.959964 + 0.841621) * 0.5, rel=1e-4)
    assert design.power(effect) == pytest.approx(0.8, abs=1e-3)
    assert design.p_value(1.959964 * 0.5) == pytest.approx(0.05, abs=1e-4)


def test_three_seeds_count_as_three():
    design = statistics.Design(seed_error=1.0, probe_error=0.0, seeds=3, probes=500)
    assert design.reach(0.025) == pytest.approx(4.302653, rel=1e-6)
    assert design.p_value(4.302653) == pytest.approx(0.05, abs=1e-6)


def test_interquartile_mean_and_probability_of_improvement_by_hand():
    assert statistics.interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])) == pytest.approx(1.5)
    # six values: weights 0, 1/6 (half of the second), 1/3, 1/3, 1/6, 0 of the middle half
    assert statistics.interquartile_mean(np.arange(6.0)) == pytest.approx(2.5)
    ours, theirs = np.array([[[1.0], [3.0]]]), np.array([[[2.0], [3.0]]])  # one point, two runs
    assert statistics.probability_of_improvement(ours, theirs) == pytest.approx([(0 + 0 + 1 + 0.5) / 4])


def test_an_interval_holds_its_mean_where_all_probes_say_the_same():
    """Rounding must not put a bound on the wrong side: a figure's error bar of less than nothing is an error."""
    values = np.repeat(np.random.default_rng(0).normal(-30, 9, (60, 1, 1)), 200, axis=2)
    drawn = statistics.draws(values)
    lo, hi = statistics.intervals(drawn)
    assert (lo <= drawn.centre).all()
    assert (hi >= drawn.centre).all()
    for cell in range(5):
        found = statistics.estimate(drawn, lambda means, cell=cell: means[cell])
        assert found.lo <= found.value <= found.hi


def test_slopes_by_hand():
    assert statistics.slopes(
        np.array([0.0, 1.0, 2.0]), np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 3.0]])
    ) == pytest.approx([2.0, 1.5])
