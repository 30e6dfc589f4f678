"""The server behind `bench vote`: what a rater sees, what is kept, who is refused."""

import http.client
import json

import pytest

from gatebench.bench.judged.ballots import Ballot
from gatebench.bench.judged.page import Booth, open_booth
from gatebench.bench.judges.votes import read_votes

BALLOTS = [Ballot(f"prompt {n}", f"a{n}", f"b{n}") for n in range(12)]


@pytest.fixture
def booth(tmp_path):
    return Booth(BALLOTS, "anna", tmp_path / "votes/anna.jsonl")


@pytest.fixture
def served(booth):
    with open_booth(booth) as address:
        yield int(address.rsplit(":", 1)[1].strip("/"))


def ask(port, method="GET", path="/ballot", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {"Host": f"127.0.0.1:{port}", **headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def vote(port, number, choice, **headers):
    return ask(port, "POST", body=json.dumps({"number": number, "choice": choice}), **headers)


def test_a_vote_is_kept_at_once_with_the_texts_as_they_were_shown(booth, served):
    _, text = ask(served)
    shown = json.loads(text)
    assert shown.keys() == {"of", "voted", "number", "prompt", "left", "right"}  # and nothing of whose they are
    status, text = vote(served, shown["number"], "left")
    (kept,) = read_votes(booth.file)
    assert (status, kept.prompt, kept.first, kept.second) == (200, "prompt 0", shown["left"], shown["right"])
    assert (kept.rater, kept.score) == ("anna", 1.0)
    assert json.loads(text)["number"] == 1


def test_sides_differ_by_chance_and_are_the_same_when_asked_again():
    sides = [ballot.turned_for("anna") for ballot in BALLOTS]
    assert {*sides} == {True, False}
    assert sides == [ballot.turned_for("anna") for ballot in BALLOTS]
    assert sides != [ballot.turned_for("ben") for ballot in BALLOTS]


def test_what_was_voted_on_is_not_asked_again_and_what_was_skipped_is(booth):
    booth.take(0, "tie")
    booth.take(1, "skip")
    assert booth.next()["number"] == 2
    again = Booth(BALLOTS, "anna", booth.file)
    assert (again.next()["number"], again.next()["voted"]) == (1, 1)
    for number in range(1, len(BALLOTS)):
        again.take(number, "right")
    assert again.next() == {"of": 12, "voted": 12}


@pytest.mark.parametrize(
    "body",
    ["", "x", "[]", "[" * 900, '{"number": 99, "choice": "left"}', '{"number": true, "choice": "left"}',
     '{"number": 0, "choice": "best"}', '{"number": 0, "choice": ["left"]}', " " * 2000],
)  # fmt: skip
def test_what_is_no_vote_is_refused_and_nothing_is_kept(booth, served, body):
    status, text = ask(served, "POST", body=body)
    assert status == 400
    assert text.startswith("no vote: ")
    assert not booth.file.exists()


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"},
     {"Referer": "https://evil.example/"}],
)  # fmt: skip
def test_pages_of_other_sites_cannot_vote(booth, served, headers):
    assert vote(served, 0, "left", **headers)[0] == 403
    assert not booth.file.exists()


def test_another_name_of_this_machine_cannot_read(served):
    assert ask(served, Host="evil.example")[0] == 403
    assert ask(served, path="/etc/passwd")[0] == 404
