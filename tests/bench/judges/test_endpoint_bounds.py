"""An endpoint that drips, pours, breaks off or leads elsewhere costs its own verdicts, in bounded time and memory."""

import json
import threading

import pytest

from gatebench.bench.judges import endpoint, exchange
from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.registry import make_judge
from tests.helpers import no_report
from tests.hostile import HEAD, hostile, whole

ASKED = [Comparison(f"Which of {number}?", "a longer answer", "short") for number in range(40)]
SLACK = 64 * 2**20  # bytes that lie in the sockets of many connections and were never read
GOOD = json.dumps({"choices": [{"message": {"content": "[[A]]"}}]}).encode()


@pytest.fixture(autouse=True)
def in_a_hurry(impatient, monkeypatch):
    monkeypatch.setattr(endpoint, "DEADLINE", 2.0)
    monkeypatch.setenv("JUDGE_KEY", "secret")


def ask(server, comparisons):
    """The verdicts; a judge that never ends fails the test and not the whole run of tests."""
    judge = make_judge(Spec("endpoint", "any", url=f"{server.url}/v1", key="JUDGE_KEY"))
    found = []
    thread = threading.Thread(target=lambda: found.extend(judge(comparisons, no_report)), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the judge is still waiting"
    return found


def reasons(server, comparisons=ASKED):
    verdicts = ask(server, comparisons)
    assert {verdict.score for verdict in verdicts} == {None}
    assert len(verdicts) == len(comparisons)
    return {verdict.why for verdict in verdicts} - {"not asked after 8 failures in a row"}


def drips_its_head(server, client, _):
    server.drip(client, HEAD + b"X: " + b"x" * 10**6, 0.1)


def drips_its_body(server, client, _):
    server.send(client, HEAD + b"Content-Length: 1000000\r\n\r\n")
    server.drip(client, b" " * 10**6, 0.1)


def drips_a_chunk(server, client, _):
    server.send(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    server.drip(client, b"1\r\n \r\n" * 10**6, 0.1)


def goes_on(server, client, _):
    server.drip(client, b"HTTP/1.1 100 Continue\r\n\r\n" * 10**6, 0.1)


@pytest.mark.parametrize("behave", [drips_its_head, drips_its_body, drips_a_chunk, goes_on])
def test_a_server_that_drips_is_given_up_and_holds_a_stage_for_two_deadlines(behave):
    with hostile(behave) as server:
        assert reasons(server) == {"no answer in time"}
    assert len(server.requests) <= endpoint.MOST_FAILURES + endpoint.ASKED_AT_ONCE


def pours(server, client, _):
    server.send(client, HEAD + b"\r\n")
    server.pour(client, b" " * 65536)


def pours_chunks(server, client, _):
    server.send(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    server.pour(client, b"10000\r\n" + b" " * 65536 + b"\r\n")


def pours_the_size_of_a_chunk(server, client, _):
    server.send(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;")
    server.pour(client, b"x" * 65536)


def pours_trailers(server, client, _):
    server.send(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
    server.pour(client, b"X: y\r\n" * 10000)


def goes_on_and_on(server, client, _):
    server.pour(client, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@pytest.mark.parametrize(
    "behave", [pours, pours_chunks, pours_the_size_of_a_chunk, pours_trailers, goes_on_and_on]
)  # fmt: skip
def test_a_body_without_an_end_is_cut_off(behave, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_BYTES", 2**18)
    with hostile(behave) as server:
        (reason,) = reasons(server, ASKED[:3])
        assert server.sent < SLACK
    assert reason in ("an answer of more than 262,144 bytes", "an answer that is none (LineTooLong)")


@pytest.mark.parametrize("size", ["10000000000000", "9" * 4000, "-1", "x"])
def test_a_size_that_is_only_claimed_takes_no_memory(size):
    def claims(server, client, _):
        server.send(client, HEAD + f"Content-Length: {size}\r\n\r\n".encode() + b"[]")

    def claims_a_chunk(server, client, _):
        server.send(client, HEAD + f"Transfer-Encoding: chunked\r\n\r\n{size}\r\n".encode() + b"[]")

    for behave in (claims, claims_a_chunk):
        with hostile(behave) as server:
            (reason,) = reasons(server, ASKED[:1])
        assert reason in ("an answer that is none (IncompleteRead)", "an answer that is none (TypeError)")


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe\xff", b"", b"null", b"[]", b'{"choices": []}', b"9" * 10_000,
     b'{"choices": [{"message": null}]}', b'{"choices": [{"message": "x"}]}', b"\x1f\x8b\x08" + b"\0" * 9],
    ids=lambda body: str(body[:12]),
)  # fmt: skip
def test_an_answer_that_cannot_be_read_costs_its_own_verdict_and_no_other(body):
    def behave(server, client, request):
        server.send(client, whole("200 OK", body if b"Which of 1?" in request else GOOD))

    with hostile(behave) as server:
        found = ask(server, ASKED[:4])
    assert [verdict.score for verdict in found] == [1.0, None, 1.0, 1.0]
    assert found[1].why.startswith("an answer that is none (")


def breaks_off(server, client, _):
    server.send(client, whole("200 OK", GOOD)[:-5])


def breaks_a_chunk_off(server, client, _):
    server.send(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + GOOD)


def talks_no_http(server, client, _):
    server.send(client, b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(range(256)))


def hangs_up(server, client, _):
    pass


@pytest.mark.parametrize("behave", [breaks_off, breaks_a_chunk_off, talks_no_http, hangs_up])
def test_what_breaks_off_is_asked_again_and_then_recorded(behave):
    with hostile(behave) as server:
        (reason,) = reasons(server, ASKED[:1])
        assert len(server.requests) == endpoint.TRIES
    assert reason.startswith(("an answer that is none (", "no connection"))

    def once(server, client, request):
        if server.requests.count(request) == 1:
            behave(server, client, request)
        else:
            server.send(client, whole("200 OK", GOOD))

    with hostile(once) as server:
        assert [verdict.score for verdict in ask(server, ASKED[:4])] == [1.0] * 4


@pytest.mark.parametrize("wait", ["86400", "9" * 5000, "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_server_that_wants_a_day_is_asked_again_within_the_deadline(wait, monkeypatch):
    def busy(server, client, _):
        server.send(client, whole("429 Too Many Requests", b"", f"Retry-After: {wait}"))

    with hostile(busy) as server:
        assert reasons(server, ASKED[:3]) == {"HTTP 429"}
        assert len(server.requests) == 3  # the pause would end after the deadline
    monkeypatch.setattr(endpoint, "LONGEST_RETRY_AFTER", 0.1)
    with hostile(busy) as server:
        assert reasons(server, ASKED[:1]) == {"HTTP 429"}
        assert len(server.requests) == endpoint.TRIES


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [("7", 7.0), ("0", 0.0), ("", 0.0), ("-3", 0.0), ("soon", 0.0), ("\u00b2", 0.0), ("1.5", 0.0),
     ("Mon, 01 Jan 0001 00:00:00 -0000", 0.0)],
)  # fmt: skip
def test_a_pause_is_read_and_nonsense_is_none(wait, seconds):
    assert endpoint._seconds(wait) == seconds


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_no_redirect_is_followed_so_that_the_key_stays_with_the_host(status):
    with hostile(lambda server, client, _: server.send(client, whole("200 OK", GOOD))) as other:

        def elsewhere(server, client, _):
            server.send(client, whole(status, b"", f"Location: {other.url}/v1/chat/completions"))

        with hostile(elsewhere) as server:
            (reason,) = reasons(server, ASKED[:3])
        assert reason == f"HTTP {status[:3]}, a redirect, which is not followed; give the address it leads to"
        assert len(server.requests) == 3
        assert all(b"Authorization: Bearer secret\r\n" in request for request in server.requests)
    assert not other.requests


def test_an_address_that_is_none_is_a_reason_too(monkeypatch):
    for url in ("http:///v1", "http://127.0.0.1:99999/v1", "http://[::1/v1", f"http://{'x' * 70}.example/v1"):
        judge = make_judge(Spec("endpoint", "any", url=url, key="JUDGE_KEY"))
        (verdict,) = judge(ASKED[:1], no_report)
        assert verdict.score is None
    monkeypatch.setenv("JUDGE_KEY", "two\nlines")
    with hostile(lambda server, client, _: server.send(client, whole("200 OK", GOOD))) as server:
        assert reasons(server, ASKED[:1]) == {"an answer that is none (ValueError)"}


def test_a_name_and_password_of_the_address_are_its_key():
    with hostile(lambda server, client, _: server.send(client, whole("200 OK", GOOD))) as server:
        server.url = server.url.replace("//", "//me:p%40ss@")
        assert ask(server, ASKED[:1])[0].score == 1.0
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in server.requests[0]
