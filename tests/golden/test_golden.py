"""A tiny suite gives the numbers that were written down; where it does not, the guard says what to do."""

import copy

import pytest
import torch

from gatebench.bench.stages.registry import kinds
from tests.golden.run import compare, compare_questions, finished, kept, measured, questions

LATER = ("dynamics", "generate", "judge")  # what is made of a trained model's weights


@pytest.fixture
def changed():
    return copy.deepcopy(kept())


def move(golden, *stages, by=1.05):
    for kind in stages:
        numbers = golden["stages"][kind]["numbers"]
        name = list(numbers)[-1]
        numbers[name] = numbers[name] * by + 0.1


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the numbers are those of a CPU")
def test_the_tiny_suite_gives_the_numbers_that_were_written_down(shared):
    found = compare(measured(finished(shared)), kept())
    assert not found, "\n".join(found)


def test_every_kind_of_stage_is_in_it_with_numbers():
    stages = kept()["stages"]
    assert tuple(stages) == kinds()
    assert all(stage["numbers"] for stage in stages.values())


def test_a_changed_number_without_a_raised_version_asks_for_it(changed):
    move(changed, "train")
    (sentence,) = compare(changed, kept())
    version = changed["stages"]["train"]["version"]
    assert sentence.startswith(
        f"results of stage train changed and its VERSION is still {version}: raise it in bench/stages/train.py, then "
        "run python -m tests.golden"
    )
    assert "sum of the weights" in sentence


def test_stages_after_the_changed_one_are_not_blamed(changed):
    move(changed, "train", *LATER)
    (sentence,) = compare(changed, kept())
    assert "stage train changed" in sentence


def test_a_raised_version_asks_for_the_file_to_be_written_anew(changed):
    move(changed, "train", *LATER)
    changed["stages"]["train"]["version"] += 1
    (sentence,) = compare(changed, kept())
    assert sentence.startswith("VERSION of stage train is")
    assert "run python -m tests.golden" in sentence
    assert "raise" not in sentence


def test_a_raised_version_does_not_hide_an_earlier_stage_that_changed(changed):
    move(changed, "warmup", "train")
    changed["stages"]["train"]["version"] += 1
    (sentence,) = compare(changed, kept())
    assert "results of stage warmup changed" in sentence


def test_a_missing_or_new_number_counts_as_a_change(changed):
    numbers = changed["stages"]["reference"]["numbers"]
    numbers["something new"] = numbers.pop(next(iter(numbers)))
    assert "stage reference changed" in compare(changed, kept())[0]


def test_a_change_within_the_rounding_of_another_processor_is_none(changed):
    for stage in changed["stages"].values():
        stage["numbers"] = {name: value * 1.0005 for name, value in stage["numbers"].items()}
    assert compare(changed, kept()) == []


def test_metrics_that_changed_alone_are_noticed_too(changed):
    cell = next(iter(changed["cells"]))
    changed["cells"][cell]["delta_chosen"] += 1
    (sentence,) = compare(changed, kept())
    assert sentence.startswith(f"metrics of {cell} changed and no stage did (delta_chosen:")


def test_other_libraries_ask_for_the_file_to_be_written_anew(changed):
    move(changed, "base")
    changed["made_with"]["torch"] = "3.0"
    (sentence,) = compare(changed, kept())
    assert "torch" in sentence
    assert "run python -m tests.golden" in sentence


def test_the_digest_of_the_shipped_questions_stands_for_what_they_ask():
    assert compare_questions(questions(), kept()["questions"]) is None


def test_other_questions_ask_for_another_digest():
    before = kept()["questions"]
    sentence = compare_questions({**before, "documents": "0" * 64}, before)
    assert "QUESTIONS_DIGEST did not: put " + "0" * 64 in sentence
    both = compare_questions({"stands_for": "1" * 64, "documents": "0" * 64}, before)
    assert both == "QUESTIONS_DIGEST is another one: run python -m tests.golden and commit tiny.json with it"
