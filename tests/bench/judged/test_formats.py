"""Judged answers as files of AlpacaEval and Arena-Hard, read again as their tools read them."""

import json
import math
from dataclasses import dataclass

import pandas
import pytest

from gatebench.bench.data.questions import read_baseline, read_questions
from gatebench.bench.judged.comparisons import Judged
from gatebench.bench.judged.exports import write_judged

# Arena-Hard 2.0's show_result.py: a label -> the battles of A
BATTLES = {"A>B": [1], "A>>B": [1] * 3, "A=B": [0.5], "B>A": [0], "B>>A": [0] * 3}


@dataclass(frozen=True)
class Cell:
    id: str = "neox/toolbox/dpo/seq/0"
    dataset: str = "toolbox"


@pytest.fixture
def written(tmp_path):
    rows = pandas.DataFrame({
        "prompt": [0, 1, 2, 4], "opponent": "baseline", "text": [f"Question: q{n}" for n in range(4)],
        "uid": ["u0", "u1", "u2", "u3"], "question": ["q0", "q1", "q2", "q3"], "category": "math",
        "first": [1.0, 0.0, 1.0, 0.5], "second": [1.0, 0.0, math.nan, 0.0],
        "first_much": [True, False, False, False], "second_much": [False, True, False, False],
        "response": ["own 0", "# own\n- **a** __b__\n1. c", "own <2>", "own\u2028 3"],
        "opponent_response": ["other 0", "other 1", "other 2", "other 3"],
    })  # fmt: skip
    judged = [Judged(Cell(), "baseline", "o3-mini", "arena_hard gpt", rows)]
    return tmp_path, write_judged(judged, "mine", tmp_path)


def jsonl(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def test_alpacaevals_annotations_have_its_preferences(written):
    folder, (place, _) = written
    assert place == folder / "alpaca_eval/baseline/neox__toolbox__dpo__seq__0"
    found = json.loads((place / "annotations.json").read_text(encoding="utf-8"))
    assert [row["preference"] for row in found] == [2.0, 1.0, None, 1.25]  # 1: the baseline wins; 1.5: a draw
    assert {(row["generator_1"], row["generator_2"], row["annotator"]) for row in found} == {
        ("o3-mini", "neox__toolbox__dpo__seq__0", "arena_hard_gpt")
    }
    assert [found[2][key] for key in ("index", "instruction", "output_1", "output_2")] == [
        2, "q2", "other 2", "own <2>",
    ]  # fmt: skip
    as_theirs = pandas.read_json(place / "annotations.json")["preference"].dropna() - 1
    assert as_theirs.mean() == pytest.approx((1 + 0 + 0.25) / 3)


def test_arena_hards_judgments_give_the_battles_of_both_games(written):
    _, (_, place) = written
    assert place.name == "mine-toolbox-vs-o3-mini"
    rows = jsonl(place / "model_judgment/arena_hard_gpt/neox__toolbox__dpo__seq__0.jsonl")
    labels = [[game and game["score"] for game in row["games"]] for row in rows]
    # the baseline is A in the first game, the cell in the second
    assert labels == [["B>A", "A>>B"], ["A>>B", "B>A"], [None, "A>B"], ["A>B", "A=B"]]
    battles = [
        [*BATTLES[second], *(1 - score for score in BATTLES[first])]
        for first, second in labels if first is not None and second is not None
    ]  # fmt: skip
    assert battles == [[1, 1, 1, 1], [0, 0, 0, 0], [0.5, 0]]
    assert {(row["baseline"], row["category"], row["judge"]) for row in rows} == {("o3-mini", "math", "arena_hard_gpt")}


def test_arena_hards_answers_have_the_counts_of_its_style_control(written):
    _, (_, place) = written
    own = jsonl(place / "model_answer/neox__toolbox__dpo__seq__0.jsonl")
    assert own[1]["metadata"] == {
        "token_len": own[1]["metadata"]["token_len"], "header_count": {"h1": 1, **{f"h{n}": 0 for n in range(2, 7)}},
        "list_count": {"ordered": 1, "unordered": 1}, "bold_count": {"**": 1, "__": 1},
    }  # fmt: skip
    assert own[3]["messages"][-1]["content"]["answer"] == "own\u2028 3"


def test_what_was_written_can_be_asked_and_compared_with_again(written):
    _, (alpaca, arena) = written
    assert [question.text for question in read_questions(arena / "question.jsonl")] == ["q0", "q1", "q2", "q3"]
    assert read_baseline(arena / "model_answer/o3-mini.jsonl").answer("u1", "q1") == "other 1"
    assert read_baseline(alpaca / "model_outputs.json").answer("u1", "q0") == "own 0"
