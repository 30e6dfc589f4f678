"""Which pairs are voted on, and what judges said of the same."""

import math
from types import SimpleNamespace

import pandas
import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.judged.ballots import Ballot, make_ballots, scores_of_judges
from gatebench.bench.judged.comparisons import Judged
from gatebench.bench.plan.graph import Cell, Plan
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.stages.judge import BASELINE_FILE
from tests.bench.judged.test_disputes import Stages


class Answers(Stages):
    def inputs(self, kind, key):
        return {"start": self.path(kind, "start")}

    def answer(self, kind, key, file, responses):
        self.add(kind, key, file, prompt=range(3), text=["p0", "p1", "p2"], response=responses)


@pytest.fixture
def made(tmp_path):
    """A plan of an ungated cell and its gated twin, whose answers, and a baseline's, are finished."""
    stages = Answers(tmp_path)
    for key, responses in {"start": ["s", "s", "s"], "none": ["a", "b", "c"], "seq": ["a ", "d", "A"]}.items():
        stages.answer("generate", key, ANSWERS_FILE, responses)
    stages.answer("judge", "judged", BASELINE_FILE, ["x", "y", "z"])
    cells = tuple(
        Cell(f"m/{gate}", "m", "toolbox", "dpo", "dpo", "sft", gate, 0, {"generate": gate, "judge": "judged"},
             gate != "none") for gate in ("none", "seq")
    )  # fmt: skip
    return Plan("mine", cells, {}), stages


def test_a_cell_stands_beside_its_ungated_twin_and_equal_answers_are_not_asked(made):
    found = make_ballots(*made, "ungated", 10)
    assert sorted(found) == [Ballot("p1", "b", "d"), Ballot("p2", "A", "c")]
    assert make_ballots(*made, "ungated", 10) == found
    assert make_ballots(*made, "ungated", 1) == found[:1]


def test_warm_up_and_baseline_are_opponents_too(made):
    assert len(make_ballots(*made, "warmup", 10)) == 6
    assert Ballot("p2", "A", "z") in make_ballots(*made, "baseline", 10)


def test_nothing_to_vote_on_is_one_sentence(made):
    plan, stages = made
    alone = Plan("mine", plan.cells[:1], {})
    with pytest.raises(UserError, match=r"mine: no two answers to vote on; .* another --against than ungated"):
        make_ballots(alone, stages, "ungated", 10)


def test_what_a_judge_said_is_by_texts_as_votes_are():
    rows = pandas.DataFrame({
        "text": ["p0", "p1", "p2", "p3", "p4"], "response": ["b", "a", "a", "a", "s"], "opponent_response": [*"aabbs"],
        "first": [1.0, 1.0, 1.0, 1.0, 0.5], "second": [1.0, 0.5, 0.0, math.nan, 0.5],
    })  # fmt: skip
    judged = Judged(SimpleNamespace(id="m"), "warmup", "start", "exact", rows)
    assert scores_of_judges([judged]) == {"exact": {("p0", "a", "b"): 0.0, ("p2", "a", "b"): 0.5}}


def test_of_several_samples_the_first_is_voted_on_as_judges_compare_it(tmp_path):
    stages = Answers(tmp_path)
    for key in ("none", "seq"):
        stages.add("generate", key, ANSWERS_FILE, prompt=[0, 0], sample=[0, 1], text=["p", "p"],
                   response=[f"{key} first", f"{key} second"])  # fmt: skip
    cells = tuple(
        Cell(f"m/{gate}", "m", "toolbox", "dpo", "dpo", "sft", gate, 0, {"generate": gate}, gate != "none")
        for gate in ("none", "seq")
    )
    assert make_ballots(Plan("mine", cells, {}), stages, "ungated", 10) == [Ballot("p", "none first", "seq first")]
