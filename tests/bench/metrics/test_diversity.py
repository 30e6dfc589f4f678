"""Several answers to a prompt: estimators by hand and against sacrebleu's own, and the coverage of their intervals."""

import math

import numpy
import pandas
import pytest

from gatebench.bench.analysis.probe_arrays import Measured, with_intervals
from gatebench.bench.metrics.answers import against, answer_metrics
from gatebench.bench.metrics.diversity import distinct_over, pass_at, self_bleu_of
from tests.helpers import measured


def test_pass_at_k_by_hand():
    assert pass_at(1, 8, 2) == 0.25
    assert pass_at(2, 4, 1) == 0.5  # of 6 pairs 3 hold the right one
    assert pass_at(2, 4, 2) == pytest.approx(5 / 6)
    assert (pass_at(4, 4, 0), pass_at(4, 8, 5), pass_at(64, 64, 1)) == (0.0, 1.0, 1.0)


def test_pass_at_k_is_without_bias_where_the_plain_guess_is_not():
    rng, p, k = numpy.random.default_rng(0), 0.2, 4
    right = rng.binomial(8, p, 40_000)
    truth = 1 - (1 - p) ** k
    assert numpy.mean([pass_at(k, 8, int(c)) for c in right]) == pytest.approx(truth, abs=0.005)
    assert numpy.mean(1 - (1 - right / 8) ** k) < truth - 0.03


def test_distinct_over_samples_counts_what_they_share_once():
    assert distinct_over([[1, 2, 3], [1, 2, 3]], 1) == 0.5
    assert distinct_over([[1, 2, 3], [1, 2, 4], []], 2) == 0.75  # 12, 23, 12, 24
    assert math.isnan(distinct_over([[1], [2]], 2))


TEXTS = [
    "The cat sat on the mat, and the dog sat by the door.", "The cat sat on the mat.", "A dog!", "It is 4.",
    "The cat sat on the mat and the cat sat on the mat again.", "", "a cat sat on a mat, and the dog sat by the door.",
]  # fmt: skip


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:2], TEXTS[:1] * 3 + TEXTS[2:4], TEXTS[2:4]])
def test_self_bleu_is_sacrebleus_own(texts):
    from sacrebleu.metrics import BLEU

    own = BLEU(effective_order=True)
    words = [text for text in texts if text]
    scores = [own.sentence_score(t, words[:i] + words[i + 1 :]).score for i, t in enumerate(words)]
    assert self_bleu_of(texts) == pytest.approx(sum(scores) / len(scores) / 100)


def test_self_bleu_of_the_same_is_1_and_of_too_few_missing():
    assert self_bleu_of(["It is 4."] * 3) == pytest.approx(1)
    assert math.isnan(self_bleu_of(["It is 4.", ""]))
    assert math.isnan(self_bleu_of([]))


def sampled(responses, passed=None):
    """A generate stage's table: the answers to each prompt."""
    rows = [
        {"prompt": prompt, "sample": at, "response": text, "ids": [ord(c) for c in text], "finish_reason": "stop"}
        for prompt, texts in enumerate(responses) for at, text in enumerate(texts)
    ]  # fmt: skip
    frame = pandas.DataFrame(rows)
    return frame if passed is None else frame.assign(passed=[one for own in passed for one in own])


def test_metrics_of_samples_by_hand():
    found = answer_metrics(
        sampled(
            [[" 4", "4 ", "5", "7"], ["aa", "aa", "aa", "aa"]],
            [[True, True, False, False], [False, False, False, False]],
        )
    )
    assert found["pass_rate"].tolist() == [0.5, 0.0]
    assert found["pass_at_2"].tolist() == pytest.approx([5 / 6, 0])
    assert found["pass_at_4"].tolist() == [1.0, 0.0]
    assert "pass_at_8" not in found
    assert found["distinct_answers"].tolist() == [3, 1]
    assert found["distinct_right"].tolist() == [1, 0]
    assert found["all_equal"].tolist() == [0, 1]
    assert found["tokens"].tolist() == [1.5, 2.0]
    assert found["samples_distinct_1"].tolist() == pytest.approx([4 / 6, 1 / 8])
    assert found["self_bleu"][1] == pytest.approx(1)
    assert found["self_bleu_right"][0] == pytest.approx(1)
    assert math.isnan(found["self_bleu_right"][1])


def test_overlap_is_with_other_prompts_alone():
    """Two samples of each prompt that are equal have nothing in common with those of the other prompt."""
    found = answer_metrics(sampled([["abc", "abc"], ["xyz", "abz"]]))
    assert found["overlap"].tolist() == pytest.approx([(0 + 1 / 3) / 2] * 2)


def test_what_one_answer_a_prompt_does_not_have_is_missing():
    one = answer_metrics(sampled([["ab"], ["cd"]], [[True], [False]]).drop(columns="sample"))
    assert set(one) == {"pass_rate", "tokens", "empty", "truncated", "distinct_2", "repeated", "overlap"}
    assert "pass_at_2" not in answer_metrics(sampled([["ab", "b"]]))


def test_samples_are_compared_with_the_reference_policys():
    own = answer_metrics(sampled([["a b", "a b"], ["c", "d"]]))
    start = answer_metrics(sampled([["a b", "c d"], ["c", "d"]]))
    found = against(own, start)
    assert found["delta_distinct_answers"].tolist() == [-1, 0]
    assert found["delta_all_equal"].tolist() == [1, 0]


def covered(truth, values, metric):
    """How often the interval of a mean over prompts, as results have it, holds the truth."""
    hits = 0
    for drawn in values:
        frame = pandas.DataFrame({"split": "generation", "prompt": range(len(drawn)), metric: drawn})
        bounds = with_intervals({0: Measured(measured().axes, frame)}, [f"generation_{metric}"])[f"generation_{metric}"]
        hits += bounds.lo <= truth <= bounds.hi
    return hits / len(values)


def test_the_interval_of_pass_at_k_covers_it():
    """Prompts of unequal difficulty, most of them hard: Beta(0.5, 2), 100 prompts, 8 samples, 300 runs."""
    rng, k = numpy.random.default_rng(1), 4
    truth = 1 - numpy.prod([(2 + i) / (2.5 + i) for i in range(k)])  # E (1 - p)^4 of Beta(a, b): product (b+i)/(a+b+i)
    p = rng.beta(0.5, 2, (300, 100))
    values = numpy.vectorize(lambda right: pass_at(k, 8, int(right)))(rng.binomial(8, p))
    assert 0.92 <= covered(truth, values, f"pass_at_{k}") <= 0.98


def test_the_interval_of_the_number_of_distinct_answers_covers_it():
    """Each prompt has its own number of equally likely answers; the expected number among 8 is known."""
    rng, sizes = numpy.random.default_rng(2), numpy.array([1, 2, 4, 8, 16])
    truth = float(numpy.mean(sizes * (1 - (1 - 1 / sizes) ** 8)))
    runs = [[len(set(rng.integers(size, size=8).tolist())) for size in rng.choice(sizes, 100)] for _ in range(300)]
    assert 0.92 <= covered(truth, runs, "distinct_answers") <= 0.98
