"""A tiny suite gives the numbers that were written down; where it does not, the guard says what to do."""

import copy
import json

import pytest

from tests.golden.run import FILE, differences, measured


@pytest.fixture(scope="module")
def wanted():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_the_results_are_those_that_were_written_down(tmp_path, wanted):
    found = differences(wanted, measured(tmp_path))
    assert not found, "\n".join(found)


def train_of(numbers):
    return next(stage for stage in numbers["stages"] if stage["kind"] == "train")


def test_a_changed_result_without_a_raised_version_is_noticed(wanted):
    changed = copy.deepcopy(wanted)
    own = train_of(changed)
    name = next(name for name in own["numbers"] if "norm" in name)
    own["numbers"][name] *= 1.01
    (sentence,) = differences(wanted, changed)
    assert f"results of stage train changed ({name}" in sentence
    assert f"its VERSION is still {own['version']}: raise it in bench/stages/train.py" in sentence


def test_a_raised_version_asks_for_the_numbers_to_be_written_anew(wanted):
    changed = copy.deepcopy(wanted)
    train_of(changed)["version"] += 1
    assert all(
        "`python -m tests.golden` writes the numbers anew" in sentence for sentence in differences(wanted, changed)
    )
    assert differences(wanted, changed)


def test_a_changed_metric_of_unchanged_stages_is_noticed_too(wanted):
    changed = copy.deepcopy(wanted)
    cell = next(iter(changed["cells"]))
    changed["cells"][cell]["delta_chosen"] += 1.0
    (sentence,) = differences(wanted, changed)
    assert f"metrics of {cell} changed (delta_chosen" in sentence
