"""Win rates of verdicts, on simulated ones."""

import math

import numpy
import pandas
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


def against(first, second, **more):
    """Verdicts against one opponent."""
    rows = {"prompt": range(len(first)), "first": first, "second": second, "tokens": 1, "opponent_tokens": 1, **more}
    return verdicts.Verdicts(pandas.DataFrame(rows).set_index("prompt"))


def test_arena_hards_score_counts_a_win_by_far_as_three():
    """By hand, as its show_result.py explodes labels: [1, 1, 1, 1], [0, 0, 0, .5] and [.5, .5]."""
    found = against([1, 0, 0.5], [1, 0.5, 0.5], first_much=[True, True, False], second_much=False)
    assert verdicts.arena_score(found).mean() == pytest.approx(5.5 / 10)
    assert verdicts.arena_score(against([1, 0], [1, 0])) is None


def test_the_length_controlled_rate_of_longer_answers_that_win_is_below_their_win_rate():
    rng = numpy.random.default_rng(0)
    lengths = rng.integers(1, 200, 500)
    logits = 1.5 * numpy.tanh((lengths - 60) / lengths.std()) - 1
    wins = (rng.random(500) < 1 / (1 + numpy.exp(-logits))).astype(float)
    texts = {"response": ["a " * n for n in lengths], "opponent_response": ["b " * 60] * 500}
    found = against(wins, wins, **texts)
    assert verdicts.win_rate(found).mean() > 0.36
    assert verdicts.win_rate_glm(found).mean() == pytest.approx(1 / (1 + math.exp(1)), abs=0.05)
    assert verdicts.win_rate(found).mean() - verdicts.win_rate_style(found).mean() > 0.01


def test_the_difficulty_of_questions_is_kept_as_it_is():
    """A judge who looks at nothing but the question: the rate is the win rate, with difficulty and without."""
    difficulty = numpy.repeat([-2.0, 2.0], 200)
    wins = numpy.tile([1.0, 1.0, 1.0, 0.0], 100)
    wins[200:] = 1 - wins[200:]
    texts = {"response": ["a", "aaaa"] * 200, "opponent_response": ["bb"] * 400}
    with_it, without = against(wins, wins, difficulty=difficulty, **texts), against(wins, wins, **texts)
    assert verdicts.win_rate_glm(with_it).mean() == pytest.approx(0.5, abs=0.01)
    assert verdicts.win_rate_glm(with_it).std() < verdicts.win_rate_glm(without).std()


def test_a_baseline_without_tokens_has_no_line_over_them():
    found = against([1.0, 0.0], [1.0, 0.0], response=["a", "b"], opponent_response=["c", "d"])
    found.rows["opponent_tokens"] = math.nan
    assert verdicts.win_rate_lc(found) is None
    assert verdicts.win_rate_glm(found).notna().all()
