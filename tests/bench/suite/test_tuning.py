"""The tune block: what is refused when the suite is read."""

import pytest

from gatebench.bench.errors import UserError
from tests.helpers import GOOD, suite_of


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
