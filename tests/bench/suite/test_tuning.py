"""The tune block: what is refused when the suite is read."""

import re

import pytest

from gatebench.bench.errors import UserError
from tests.helpers import CLAIM, GOOD, suite_of


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("space: {kappa: {low: 5, high: 2}}", "low 5 is not below high 2"),
        ("space: {kappa: {low: 0, high: 2, log: true}}", "low 0: a logarithm needs a positive number"),
        ("space: {kapa: {low: 1, high: 2}}", "did you mean 'kappa'?"),
        ("space: {kappa: {low: 1}}", "space.kappa.high: Field required"),
        ("space: {tau: {low: 0.1, high: 0.2}, percentile: {low: 1, high: 9}}", "two ways to say one thing"),
        ("space: {kind: [sec]}", "did you mean 'seq'?"),
        ("space: {kind: {low: 1, high: 2}}", "expected a list, as in [seq, q10]"),
        ("space: {kappa: [1, two]}", "'two' is no number"),
        ("maximize: delta_choosen", "did you mean 'delta_chosen'?"),
        ("maximize: [margin, delta_chosen, accuracy]", "at most 2"),
        ("subject_to: {toxicity: '>= 1'}", "unknown metric 'toxicity'"),
        ("subject_to: {accuracy: 'above 0.6'}", "'above 0.6' is no bound; write '>= 0.6'"),
        ("pruner: hyperband", "pruner hyperband compares one number"),
        ("over: objective, fair: true", "over: objective searches it already"),
        ("at: {seed: '1'}", "unknown axis 'seed'"),
        ("trials: 0", "greater than 0"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(tmp_path, block, expected):
    with pytest.raises(UserError) as caught:
        suite_of(tmp_path, GOOD + f"tune: {{{block}}}\n")
    (sentence,) = caught.value.sentences
    assert expected in sentence
    assert sentence.startswith(f"{tmp_path}/suite.yaml:{GOOD.count(chr(10)) + 1}: tune")


TUNED = GOOD + "tune: {at: {objective: dpo}, maximize: generation_distinct_right}\n"
ANSWERED = TUNED.replace(
    "evaluate:\n", "evaluate:\n  generate: {backend: transformers, samples: 2, temperature: 1.0}\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TUNED, "measured by evaluate.generate, which this suite does not have"),
        (
            ANSWERED.replace("samples: 2, ", ""),
            "generation_distinct_right is measured where evaluate.generate.samples is 2",
        ),
        (ANSWERED.replace("samples: 2", "samples: 2, questions: own.jsonl"), "leave evaluate.generate.questions out"),
        (ANSWERED.replace("builtin:toolbox", "own.jsonl"), "needs answers that are graded exactly"),
    ],
)
def test_a_search_for_what_no_trial_measures_is_refused(tmp_path, text, said):
    (tmp_path / "own.jsonl").write_text('{"instruction": "Say so."}\n')
    with pytest.raises(UserError, match=f"tune: .*{re.escape(said)}"):
        suite_of(tmp_path, text)
    suite_of(tmp_path, ANSWERED)


def test_a_claim_on_graded_answers_needs_data_that_are_graded(tmp_path):
    claim = CLAIM.replace("delta_chosen", "generation_pass_rate")
    graded = GOOD.replace("evaluate:\n", "evaluate:\n  generate: {backend: transformers}\n") + claim
    suite_of(tmp_path, graded)
    with pytest.raises(UserError, match=r"generation_pass_rate needs answers .*; toolbox is own\.jsonl"):
        suite_of(tmp_path, graded.replace("builtin:toolbox", "own.jsonl"))
