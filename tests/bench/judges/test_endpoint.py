"""An endpoint as a judge: one that is down, slow, full or talks nonsense."""

import time

import pytest

from gatebench.bench.judges import endpoint
from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.registry import make_judge
from tests.helpers import judge_server, no_report, prefers_the_longer

LONGER = Comparison("Which is better?", "a longer answer", "short")


def ask(url, *comparisons):
    return make_judge(Spec("endpoint", "any", url=url, key="JUDGE_KEY"))(comparisons, no_report)


@pytest.mark.parametrize(
    ("said", "score"),
    [("[[A]]", 1), ("B", 0), ("I like [[A]] first, but in the end [[B]]", 0), ("[[c]]", 0.5), ("tie", 0.5),
     ("[[tie]]", 0.5),
     ("A good answer is rare", None), ("", None), ("[[D]]", None)],
)  # fmt: skip
def test_a_reply_is_read_for_its_verdict_alone(said, score):
    assert endpoint.verdict_of(said) == score


def test_an_endpoint_is_asked_with_its_key_and_judges(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with judge_server(prefers_the_longer) as server:
        one, other = ask(server.url, LONGER, Comparison("Which?", "short", "a longer answer"))
    assert (one.score, other.score) == (1.0, 0.0)
    path, key, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert key == "Bearer secret"
    assert body["model"] == "any"
    assert body["temperature"] == 0


def test_429_is_asked_again_after_the_pause_that_the_server_wants(impatient):
    with judge_server(429, 503, "[[A]]") as server:
        started = time.monotonic()
        (verdict,) = ask(server.url, LONGER)
    assert verdict.score == 1.0
    assert time.monotonic() - started >= 1  # of Retry-After
    assert len(server.requests) == 3


def test_nonsense_is_asked_again_and_then_recorded(impatient):
    with judge_server("Well, it depends.", "[[B]]") as server:
        assert ask(server.url, LONGER)[0].score == 0.0
    with judge_server("Well, it depends.") as server:
        (verdict,) = ask(server.url, LONGER)
    assert verdict.score is None
    assert verdict.why == "no verdict in 'Well, it depends.'"


def test_a_judge_that_is_down_or_full_or_refuses_is_recorded_without_its_address(impatient):
    with judge_server(401) as server:
        assert ask(server.url, LONGER)[0].why == "HTTP 401"
        assert len(server.requests) == 1  # a refusal is not asked again
    assert ask(server.url, LONGER)[0].why == "no connection"
    with judge_server(500) as server:
        assert ask(server.url, LONGER)[0].why == "HTTP 500"
        assert len(server.requests) == endpoint.TRIES


def test_a_judge_that_is_slow_is_not_waited_for_for_ever(impatient, monkeypatch):
    monkeypatch.setattr(endpoint, "SECONDS", (1.0, 0.2))
    with judge_server(lambda question: time.sleep(1) or "[[A]]") as server:
        (verdict,) = ask(server.url, LONGER)
    assert verdict.score is None
    assert verdict.why in ("no answer in time", "no connection")


def test_after_failures_in_a_row_the_rest_is_not_asked(impatient):
    with judge_server(401) as server:
        verdicts = ask(server.url, *[LONGER] * 100)
    assert [verdict.score for verdict in verdicts] == [None] * 100
    assert "not asked" in verdicts[-1].why
    assert len(server.requests) < endpoint.MOST_FAILURES + endpoint.ASKED_AT_ONCE + 1
