"""Implicit rewards of right and wrong answers, counted as RewardBench 2 does: by hand."""

import math

import numpy
import pandas
import pytest

from gatebench.bench.metrics.rewards import REWARDS, Rewards


def rows(*prompts):
    """(id, rewards of right answers, rewards of wrong ones) of each prompt."""
    found = [
        {"prompt": prompt, "id": identity, "right": right, "reward": float(value)}
        for prompt, (identity, *sides) in enumerate(prompts)
        for right, values in zip((True, False), sides, strict=True) for value in values
    ]  # fmt: skip
    return REWARDS.table(Rewards(pandas.DataFrame(found)))


def test_the_best_of_n_is_right_and_shares_a_tie():
    found = rows(("", [2], [1, 0, -1]), ("", [1], [1, 0, 1]), ("", [0], [1, -1, -2]), ("", [0], [-1]), ("", [0], [0]))
    assert found["accuracy"].tolist() == pytest.approx([1, 1 / 3, 0, 1, 0.5])
    assert found["margin"].tolist() == [1, 0, -1, 1, 0]
    assert not [name for name in found if name.startswith("ties")]


def test_ties_by_hand():
    found = rows(
        ("ref:1", [4], [1, 0]), ("tied:1", [5, 4], [2, 0]),  # all right, and the right ones closer together
        ("ref:2", [1], [0]), ("tied:2", [5, 2], [1]),  # the right ones 3 apart, 1 above the wrong one
        ("tied:3", [3, 2], [2.5]), ("ref:3", [0], [1]),  # a right one below the wrong one, and the twin wrong
        ("tied:4", [1, 0], [-1]),  # without its twin
    )  # fmt: skip
    tanh = math.tanh
    expected = [
        0.3 + 0.3 + 0.2 + 0.2 + 0.01 * tanh(2 / 1 - 1), 0.3 + 0.3 + 0.01 * tanh(1 / 3 - 1), 0.01 * tanh(-1 / 1 - 1),
    ]  # fmt: skip
    assert found.index.tolist() == [1, 3, 4]
    assert found["ties_score"].tolist() == pytest.approx(expected)
    assert found["ties_accuracy"].tolist() == [1, 1, 0]
    assert found["ties_ref_accuracy"].tolist() == [1, 1, 0]
    assert found["ties_margin"].tolist() == [1, 0, 0]
    assert found["ties_margin_hard"].tolist() == [1, 0, 0]
    assert "accuracy" not in found


def test_the_mean_is_the_benchmarks_own_score():
    """Its formula as written: means of each part over the questions that both kinds have."""
    rng, given = numpy.random.default_rng(0), []
    for question in range(40):
        given.append((f"ref:{question}", rng.normal(1, 1, 1), rng.normal(0, 1, 5)))
        given.append((f"tied:{question}", rng.normal(2, 0.3, 4), rng.normal(0, 1, 5)))
    stats = {}
    for identity, right, wrong in given:
        stats[identity] = min(right) > max(wrong), max(right) - min(right), min(right) - max(wrong)
    tied, ref = ([stats[f"{kind}:{q}"] for q in range(40)] for kind in ("tied", "ref"))
    spread, gap = (numpy.array([own[at] for own in tied]) for at in (1, 2))
    both = numpy.minimum(gap, [own[2] for own in ref])
    overall = (
        0.3 * numpy.mean([own[0] for own in tied]) + 0.3 * numpy.mean([own[0] for own in ref])
        + 0.2 * numpy.mean(gap > spread) + 0.2 * numpy.mean(both > spread)
        + 0.01 * numpy.mean(numpy.tanh(both / spread - 1))
    )  # fmt: skip
    assert rows(*given)["ties_score"].mean() == pytest.approx(overall)


def test_equal_rewards_of_right_answers_divide_by_nothing():
    found = rows(("ref:1", [1], [0]), ("tied:1", [1, 1], [0]), ("ref:2", [0], [0]), ("tied:2", [0, 0], [0]))
    assert found["ties_score"].tolist() == pytest.approx([1 + 0.01, 0.01 * math.tanh(-1)])
