"""Votes as a judge: kept with their texts, whatever the order; several raters; files that are none."""

import json

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.judges.api import LOSS, TIE, WIN, Comparison, Spec
from gatebench.bench.judges.registry import make_judge
from gatebench.bench.judges.votes import Vote, append_vote, read_votes


def verdicts(place, *asked):
    judge = make_judge(Spec("human", votes=str(place)))
    return [verdict.score for verdict in judge([Comparison("Which?", *both) for both in asked], lambda share: None)]


def test_a_vote_is_on_texts_in_either_order(tmp_path):
    append_vote(tmp_path / "anna.jsonl", Vote("anna", "Which?", "b", "a", WIN))
    append_vote(tmp_path / "anna.jsonl", Vote("anna", "Which?", "c\n\u2028", "a", LOSS))
    file = tmp_path / "anna.jsonl"
    assert verdicts(file, ("b", "a"), ("a", "b"), ("c\n\u2028", "a"), ("b", "c"), ("b", "b")) == [
        WIN, LOSS, LOSS, None, TIE,
    ]  # fmt: skip


def test_the_answer_that_more_raters_prefer_wins(tmp_path):
    for rater, scores in {"anna": (WIN, WIN, TIE), "ben": (WIN, LOSS, LOSS), "cora": (LOSS, TIE, TIE)}.items():
        for number, score in enumerate(scores):
            append_vote(tmp_path / f"{rater}.jsonl", Vote(rater, "Which?", f"a{number}", "b", score))
    assert verdicts(tmp_path, ("a0", "b"), ("a1", "b"), ("b", "a2")) == [WIN, TIE, WIN]


def test_who_votes_again_has_changed_their_mind(tmp_path):
    for score in (WIN, LOSS):
        append_vote(tmp_path / "anna.jsonl", Vote("anna", "Which?", "a", "b", score))
    assert [vote.score for vote in read_votes(tmp_path)] == [LOSS]


@pytest.mark.parametrize(
    "line",
    ["x", "[]", "{}", json.dumps({"rater": 1, "prompt": "", "first": "", "second": "", "score": 1}),
     json.dumps({"rater": "a", "prompt": "", "first": "", "second": "", "score": 0.7})],
)  # fmt: skip
def test_what_is_no_vote_is_refused_with_its_line(tmp_path, line):
    file = tmp_path / "votes.jsonl"
    append_vote(file, Vote("anna", "Which?", "a", "b", WIN))
    file.open("a").write(line + "\n")
    with pytest.raises(UserError, match=r"votes\.jsonl:2: not a vote"):
        read_votes(file)
