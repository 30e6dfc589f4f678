"""Win rates of verdicts, on simulated ones."""

import math

import numpy
import pytest

from gatebench.bench.metrics import verdicts


def test_the_win_rate_at_equal_length_is_that_of_a_judge_who_does_not_look_at_length():
    rng = numpy.random.default_rng(0)
    longer = rng.normal(10, 20, 4000)  # answers are longer by 10 tokens, and each adds a hundredth to the win rate
    wins = (rng.random(4000) < 0.4 + 0.01 * longer.clip(-40, 60)).astype(float)
    assert wins.mean() == pytest.approx(0.5, abs=0.03)
    assert verdicts.at_equal_length(wins, longer).mean() == pytest.approx(0.4, abs=0.03)
    numpy.testing.assert_array_equal(verdicts.at_equal_length(wins, numpy.full(4000, 3.0)), wins)
    with_gap = wins.copy()
    with_gap[0] = math.nan
    found = verdicts.at_equal_length(with_gap, longer)
    assert math.isnan(found[0])
    assert not numpy.isnan(found[1:]).any()
