"""Metrics of answers by hand."""

import math

import pandas
import pytest

from gatebench.bench.metrics.answers import against, answer_metrics, common_pairs, distinct, longest_repeat


def test_distinct_is_the_share_of_different_pairs():
    assert distinct([1, 2, 1, 2], 2) == pytest.approx(2 / 3)  # 12, 21, 12
    assert distinct([1, 2, 3], 2) == 1.0
    assert math.isnan(distinct([1], 2))


@pytest.mark.parametrize(
    ("tokens", "share"), [([1, 2, 3], 0), ([1, 2, 1, 2], 0.5), ([7, 7, 7, 7], 0.75), ([1, 2, 3, 9, 1, 2, 3], 3 / 7)]
)
def test_repeated_is_the_longest_span_that_occurs_twice(tokens, share):
    assert longest_repeat(tokens) == pytest.approx(share)


def test_one_favourite_phrase_overlaps_with_all():
    assert common_pairs([[1, 2, 3], [1, 2, 3], [1, 2, 3]]) == [1.0, 1.0, 1.0]
    # pairs {12, 23}, {12, 24}, {56}: 1 of 3 in common with the second, none with the third
    assert common_pairs([[1, 2, 3], [1, 2, 4], [5, 6]]) == pytest.approx([1 / 6, 1 / 6, 0])
    assert math.isnan(common_pairs([[1], [1, 2]])[0])
    assert common_pairs([]) == []


def test_against_the_reference_policys_own_answers():
    def frame(ids, reason, passed):
        return pandas.DataFrame({"prompt": [3, 5], "ids": ids, "finish_reason": reason, "passed": passed})

    own = answer_metrics(frame([[1, 2], []], ["stop", "length"], [True, False]))
    reference = answer_metrics(frame([[1, 2, 3], [4]], ["stop", "stop"], [False, False]))
    found = against(own, reference)
    assert found.loc[3, ["pass_rate", "tokens", "delta_pass_rate", "delta_tokens"]].tolist() == [1, 2, 1, -1]
    assert found.loc[5, ["empty", "truncated", "delta_empty", "delta_truncated"]].tolist() == [1, 1, 1, 1]
    assert math.isnan(found.loc[5, "delta_repeated"])
