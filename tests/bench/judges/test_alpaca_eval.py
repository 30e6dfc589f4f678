"""A judge whose certainty is the verdict: what first tokens say, and what a server that gives none is told."""

import math

import pytest

from gatebench.bench.judges.alpaca_eval import weighed_verdict_of
from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.endpoint import OwnWords
from gatebench.bench.judges.registry import make_judge
from tests.helpers import judge_server, no_report

ASKED = [Comparison("What?", "this", "that")]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({"A": math.log(0.6), "B": math.log(0.2), "C": math.log(0.2)}, 0.75),
        ({"A": math.log(0.5), " A": math.log(0.1), " B": math.log(0.4)}, 0.6),
        ({"A": -0.1, "So": -3.0}, 1.0),  # B is not among the likeliest, and counts as impossible
        ({"B": -0.1, "b": -3.0}, 0.0),
        ({"Well": -0.1}, None),
        ({"Well": -0.1, "A": -4.0}, None),  # a hundredth of the mass says nothing of the other
    ],
)
def test_the_verdict_is_a_probability(first, expected):
    assert weighed_verdict_of(first) == (None if expected is None else pytest.approx(expected))


def test_one_token_is_asked_for_with_its_log_probs():
    with judge_server({"A": math.log(0.9), "B": math.log(0.1)}) as server:
        (verdict,) = make_judge(Spec("alpaca_eval", "any", url=server.url, parameters=OwnWords()))(ASKED, no_report)
    assert verdict.score == pytest.approx(0.9)
    (_, _, body) = server.requests[0]
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 5)


def test_a_server_without_log_probs_is_told_so():
    with judge_server("A") as server:
        (verdict,) = make_judge(Spec("alpaca_eval", "any", url=server.url))(ASKED, no_report)
    assert verdict.score is None
    assert "gives no log-probs" in verdict.why
    assert len(server.requests) == 1
