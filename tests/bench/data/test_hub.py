"""The hub is asked for a bounded time, its answers' ends are not waited for, and nothing goes to another host."""

import json
import threading

import huggingface_hub.constants
import pytest

from gatebench.bench.data import hub
from gatebench.bench.data.hub import Hub
from tests.helpers import DPO, python, write
from tests.hostile import HEAD, hostile, whole

NOT_HERE = "it is not on this machine, and the hub does not answer ("


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "SECONDS_TO_LOOK_UP", 2.0)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


@pytest.fixture
def at(monkeypatch):
    """To let a server be the hub."""
    return lambda server: monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)


def why(name="org/name", revision=None, kind="model", asked=None):
    """What is said; a look-up that never ends fails the test and not the whole run of tests."""
    found = []
    asked = asked or Hub()
    thread = threading.Thread(target=lambda: found.append(asked.why_not_there(kind, name, revision)), daemon=True)
    thread.start()
    thread.join(60)
    assert found, "the hub is still waited for"
    return found[0]


def has_it(server, client, _):
    server.send(client, whole("200 OK", json.dumps({"id": "org/name"}).encode()))


def test_a_name_that_is_there_is_found_with_its_revision_and_the_accounts_key(at):
    with hostile(has_it) as server:
        at(server)
        assert why() == why(revision="refs/pr/1") == why(kind="dataset") == ""
    lines = [request.split(b"\r\n")[0] for request in server.requests]
    assert lines == [
        b"GET /api/models/org/name HTTP/1.1", b"GET /api/models/org/name/revision/refs%2Fpr%2F1 HTTP/1.1",
        b"GET /api/datasets/org/name HTTP/1.1",
    ]  # fmt: skip
    assert all(b"bearer hf_secret" in request.lower() for request in server.requests)


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [("401 Unauthorized", "RepoNotFound", "the hub has nothing of that name, or not for this account"),
     ("403 Forbidden", "GatedRepo", "it is gated, and this account has no access to it"),
     ("404 Not Found", "RevisionNotFound", "it has no revision 'main'"),
     ("500 Internal Server Error", "", NOT_HERE)],
)  # fmt: skip
def test_what_the_hub_has_not_is_told_apart(at, status, code, sentence):
    body = json.dumps({"error": "no"}).encode()
    with hostile(lambda server, client, _: server.send(client, whole(status, body, f"X-Error-Code: {code}"))) as server:
        at(server)
        assert why(revision="main").startswith(sentence)
    assert why("a name with spaces") == "the hub has nothing of that name, or not for this account"


def drips(server, client, _):
    server.drip(client, HEAD + b"X: " + b"x" * 10**6, 0.1)


def test_a_hub_that_drips_is_given_up_and_not_asked_for_another_name(at):
    asked = Hub()
    with hostile(drips) as server:
        at(server)
        assert why(asked=asked) == f"{NOT_HERE}not within 2 seconds)"
        assert why("org/other", asked=asked) == f"{NOT_HERE}it has not answered before)"
    assert len(server.requests) == 1


def pours(server, client, _):
    server.send(client, HEAD + b"\r\n" + b'{"siblings": [')
    server.pour(client, b'{"rfilename": "x"}, ' * 1000)


def pours_an_error(server, client, _):
    server.send(client, b"HTTP/1.1 404 Not Found\r\nX-Error-Code: RepoNotFound\r\n\r\n")
    server.pour(client, b"x" * 65536)


def test_an_answer_without_an_end_is_not_read(at):
    for behave, sentence in (
        (pours, ""),
        (pours_an_error, "the hub has nothing of that name, or not for this account"),
    ):
        with hostile(behave) as server:
            at(server)
            assert why() == sentence
            assert server.sent < 64 * 2**20  # what lies in the sockets


def test_a_redirect_is_followed_on_the_same_host_alone(at):
    with hostile(has_it) as other:

        def elsewhere(server, client, request):
            if b"/renamed/" in request:
                server.send(client, whole("200 OK", b"{}"))
            elif b"/org/new" in request:
                server.send(client, whole("307 Temporary Redirect", b"", "Location: /api/models/renamed/name"))
            elif b"/org/round" in request:
                server.send(client, whole("302 Found", b"", "Location: /api/models/org/round"))
            else:
                server.send(client, whole("302 Found", b"", f"Location: {other.url}/api/models/org/name"))

        with hostile(elsewhere) as server:
            at(server)
            assert why("org/new") == ""
            assert why("org/round") == f"{NOT_HERE}more than 5 redirects)"
            assert why() == f"{NOT_HERE}it leads to another host, {other.url}, which is not followed)"
    assert not other.requests


def test_a_page_that_is_no_answer_of_a_hub_is_none(at):
    with hostile(lambda server, client, _: server.send(client, whole("200 OK", b"<html>Log in</html>"))) as server:
        at(server)
        assert why() == f"{NOT_HERE}127.0.0.1:{server.port} answers as no hub does)"


@pytest.mark.slow
def test_a_run_whose_hub_has_a_model_and_never_sends_its_files_ends_in_a_sentence(tmp_path):
    def behave(server, client, request):
        (drips if b"/resolve/" in request else has_it)(server, client, request)

    text = DPO.replace("builtin:ladder/neox-0.3m", "org/name").replace("builtin:toolbox,", "org/data,")
    patched = (
        "import sys, gatebench.bench.plan.hub as hub; hub.SECONDS_FOR_FILES = 5.0; "
        "from gatebench.bench.cli import main; sys.argv[0] = 'bench'; main()"
    )
    with hostile(behave) as server:
        done = python(
            patched, "run", write(tmp_path, text), "--results", tmp_path / "results", HF_HUB_OFFLINE="0",
            HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "hub"),
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("caution: ")] == [
        f"{tmp_path}/suite.yaml: models: 'org/name': the hub does not send its configuration and tokenizer (not "
        "within 5 seconds); set HF_HUB_OFFLINE=1 to take what is on this machine",
        f"{tmp_path}/suite.yaml: datasets: 'org/data': {NOT_HERE}it has not answered before)",
    ]
