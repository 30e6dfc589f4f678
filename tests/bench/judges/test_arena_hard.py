"""A judge that says how much better: which labels are read as what, and what it is told."""

import pytest

from gatebench.bench.judges.api import LOSS, TIE, WIN, Comparison, Spec, Verdict
from gatebench.bench.judges.arena_hard import graded_verdict_of
from gatebench.bench.judges.endpoint import OwnWords
from gatebench.bench.judges.registry import make_judge
from tests.helpers import judge_server


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("[[A>>B]]", Verdict(WIN, much=True)), ("[[A>B]]", Verdict(WIN, much=False)),
        ("[[A=B]]", Verdict(TIE, much=False)), ("[[B>A]]", Verdict(LOSS, much=False)),
        ("[[B>>A]]", Verdict(LOSS, much=True)), ("[[A<<B]]", Verdict(LOSS, much=True)),
        ("[[A<B]]", Verdict(LOSS, much=False)), ("[b>>a]", Verdict(LOSS, much=True)),
        ("not [[A>>B]] but [[A=B]]", Verdict(TIE, much=False)), ("[[A]]", None), ("", None), ("[[A>A]]", None),
    ],
)  # fmt: skip
def test_what_a_label_says(said, expected):
    assert graded_verdict_of(said) == expected


def test_a_suites_own_words_take_the_place_of_ours():
    asked = [Comparison("What?", "this", "that")]
    with judge_server("It is [[B>>A]]") as server:
        for parameters in (OwnWords(), OwnWords("Say which.")):
            judge = make_judge(Spec("arena_hard", "any", url=server.url, parameters=parameters))
            assert judge(asked, lambda share: None) == [Verdict(LOSS, much=True)]
        told = [body["messages"][0]["content"] for _, _, body in server.requests]
    assert "[[A>>B]]" in told[0]
    assert told[1] == "Say which."
