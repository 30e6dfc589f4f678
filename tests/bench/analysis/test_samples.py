"""Answers side by side, from hand-made generate stages."""

from dataclasses import dataclass

import pandas
import pytest

from gatebench.bench.analysis.samples import answers_to, changed_spans, samples_table, side_by_side
from gatebench.bench.errors import UserError
from gatebench.bench.stages.generate import ANSWERS_FILE


@dataclass(frozen=True)
class Cell:
    model: str
    dataset: str = "toolbox"
    warmup: str = "sft"
    objective: str = "dpo"
    gate: str = "seq"
    seed: int = 0

    @property
    def id(self):
        return f"{self.model}/{self.dataset}/{self.objective}/{self.gate}/{self.seed}"


class Stages:
    """Generate stages of one key each; every one starts from `start`."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, key, responses, text="What is it?"):
        place = self.path("generate", key)
        place.mkdir()
        pandas.DataFrame({"prompt": range(len(responses)), "text": text, "response": responses,
                          "finish_reason": "stop", "passed": [r == "yes" for r in responses]}).to_parquet(
            place / ANSWERS_FILE)  # fmt: skip

    def path(self, kind, key):
        return self.folder / key

    def is_finished(self, kind, key):
        return self.path(kind, key).exists()

    def inputs(self, kind, key):
        own = self.path(kind, f"start of {key}")
        return {"start": own if own.exists() else self.path(kind, "start")}

    def check(self, kind, key):
        assert self.is_finished(kind, key)


@pytest.fixture
def stages(tmp_path):
    found = Stages(tmp_path)
    found.add("start", ["start 0", "start 1"])
    found.add("own", ["yes", "long answer"])
    return found


def test_a_cell_stands_beside_the_warm_up_of_its_own_seed(stages):
    stages.add("start of other", ["yes", "start one"])
    stages.add("other", ["yes", "start two"])
    (asked,) = side_by_side([(Cell("m", seed=0), "own"), (Cell("m", seed=1), "other")], stages, [1])
    assert [sample.who for sample in asked.answers] == [
        "m/toolbox/sft warm-up, seed 0", "m/toolbox/dpo/seq/0", "m/toolbox/sft warm-up, seed 1", "m/toolbox/dpo/seq/1",
    ]  # fmt: skip
    assert [sample.response[start:end] for sample in asked.answers[3:] for start, end in sample.changed] == ["two"]


def test_the_reference_policy_comes_once_and_before_its_cells(stages):
    cells = [(Cell("m", seed=seed), "own") for seed in (0, 1)] + [(Cell("m", seed=2), "not finished")]
    first, second = side_by_side(cells, stages, range(20))
    assert [sample.who for sample in first.answers] == ["m/toolbox/sft warm-up", "m/toolbox/dpo/seq/0",
                                                        "m/toolbox/dpo/seq/1"]  # fmt: skip
    assert [sample.response for sample in second.answers] == ["start 1", "long answer", "long answer"]
    assert first.answers[0].axes == {}
    assert first.answers[2].axes["seed"] == "1"
    assert [sample.passed for sample in first.answers] == [False, True, True]


def test_models_of_equal_content_both_have_their_answers(stages):
    """Their names are in no key, so that they share their stages."""
    (asked,) = side_by_side([(Cell("one"), "own"), (Cell("other"), "own")], stages, [0])
    assert [sample.who.split("/")[0] for sample in asked.answers] == ["one", "one", "other", "other"]


def test_prompts_of_two_data_sets_are_two(stages):
    stages.add("elsewhere", ["yes"], text="Where is it?")
    found = answers_to("s", [(Cell("m"), "own"), (Cell("m", dataset="hh"), "elsewhere")], stages, 0)
    assert [(asked.dataset, asked.answers[-1].who.split("/")[1]) for asked in found] == [("toolbox",) * 2, ("hh",) * 2]


def test_what_was_not_asked_is_refused(stages):
    with pytest.raises(UserError, match="prompt 2: not asked; expected a number below 2"):
        answers_to("s", [(Cell("m"), "own")], stages, 2)
    with pytest.raises(UserError, match="no cell has answers"):
        answers_to("s", [(Cell("m"), "missing")], stages, 0)


def test_a_long_answer_is_cut_only_where_that_is_asked(stages):
    (asked,) = side_by_side([(Cell("m"), "own")], stages, [1])
    assert [row.cells[1].text for row in samples_table(asked, 4).rows] == ["star …", "long …"]
    assert samples_table(asked).rows[1].cells[1].text == "long answer"


def test_the_words_that_a_policy_did_not_say_before_are_marked(stages):
    stages.add("changed", ["start and 0", "start 1"])
    first, second = side_by_side([(Cell("m"), "changed")], stages, range(2))
    (shown, *_), (table, *_) = samples_table(first).rows[1].cells[1:2], [samples_table(second)]
    assert shown.parts() == [("start ", False), ("and ", True), ("0", False)]
    assert table.rows[1].cells[1].marked == ()
    (cut, *_) = samples_table(first, 8).rows[1].cells[1:2]
    assert cut.parts() == [("start ", False), ("an", True), (" …", False)]


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [("", "new", ["new"]), ("same", "same", []), ("a b c", "a x c", ["x"]), ("a b", "b", []), ("<b>", "<i>", ["i"])],
)
def test_what_changed_is_told_word_by_word(before, after, marked):
    assert [after[start:end] for start, end in changed_spans(before, after)] == marked
