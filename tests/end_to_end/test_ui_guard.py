"""What the servers of `bench ui` refuse: other sites' pages, and names of other sites that lead here."""

import http.client
import json
import urllib.parse
from pathlib import Path

import optuna
import psutil
import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.tracking import ui
from gatebench.bench.tracking.delivery import Delivery
from gatebench.bench.tracking.entries import RUN, Entry
from gatebench.bench.tracking.optuna_server import storage_at
from tests.helpers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")]
OWN = {"Host": "127.0.0.1:{port}"}
FOREIGN = [
    {"Host": "evil.example"}, {"Host": "evil.example:{port}"}, {"Host": "10.evil.example:{port}"},
    {"Host": "192.168.0.9:{port}"}, {**OWN, "Origin": "https://evil.example"}, {**OWN, "Origin": "null"},
]  # fmt: skip
OF_OTHER_PAGES = [
    {"Host": "127.0.0.1:1"}, {**OWN, "Origin": "http://127.0.0.1:1"}, {**OWN, "Origin": "https://127.0.0.1:{port}"},
    {**OWN, "Referer": "https://evil.example/"}, {**OWN, "Referer": "http://127.0.0.1:{port}.evil.example/"},
    {**OWN, "Sec-Fetch-Site": "cross-site"}, {**OWN, "Sec-Fetch-Site": "same-site"},
]  # fmt: skip
OF_THIS_MACHINE = [
    OWN, {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
    {**OWN, "Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
    {**OWN, "Referer": "http://127.0.0.1:{port}/dashboard/studies/1"},
]  # fmt: skip


def ask(port, method, path, headers, body=None):
    """An answer's status, headers and text; the headers are these alone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value.replace("{port}", str(port)))
        if body:
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Content-Type", "application/json")
        connection.endheaders(body.encode() if body else None)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.fixture
def tracked(tmp_path):
    """An address of MLflow's that holds a run of a suite."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    Delivery(uri)(Entry("suite", RUN, "cell", ("gatebench.cell", "c"), "v", {}, {}, ()))
    return uri


@pytest.fixture
def dashboard(tmp_path):
    """Starts Optuna's dashboard as `bench ui` does: the storage's address -> its port."""
    servers, log = [], tmp_path / "ui.log"

    def start(address):
        port = free_port()
        with log.open("ab") as lines:
            ui._start("Optuna's dashboard", *ui._optuna(address, port), port, log, lines, servers)
        return port

    start.servers, start.log = servers, log
    yield start
    for server in servers:
        ui._end(server)


def studies(port):
    status, _, text = ask(port, "GET", "/api/studies", OWN)
    assert status == 200
    return {study["study_name"]: study["study_id"] for study in json.loads(text)["study_summaries"]}


def no_other_page_deletes_a_study(port):
    number = studies(port)["kept"]
    for headers in [*FOREIGN, *OF_OTHER_PAGES]:
        status, _, text = ask(port, "DELETE", f"/api/studies/{number}", headers)
        assert status == 403, headers
        assert text.startswith("refused: "), headers
    assert ask(port, "GET", "/api/studies", {"Host": "evil.example"})[0] == 403
    status, headers, page = ask(port, "GET", "/dashboard", {**OWN, "Sec-Fetch-Site": "cross-site"})  # a link to it
    assert (status, headers["X-Frame-Options"]) == (200, "SAMEORIGIN")
    assert "<html" in page.lower()
    assert "kept" in studies(port)
    for headers in OF_THIS_MACHINE:
        body = json.dumps({"study_name": "made", "directions": ["minimize"]})
        assert ask(port, "POST", "/api/studies", headers, body)[0] == 201, headers
        assert ask(port, "DELETE", f"/api/studies/{studies(port)['made']}", headers)[0] == 204, headers


@pytest.mark.parametrize("kind", ["sqlite:///{0}/studies.db", "journal:{0}/studies.log"])
def test_no_other_page_deletes_a_study(tmp_path, dashboard, kind):
    address = kind.format(tmp_path)
    optuna.create_study(storage=storage_at(address), study_name="kept")
    no_other_page_deletes_a_study(dashboard(address))


@pytest.mark.postgres
def test_a_password_is_in_no_list_of_processes_and_no_log(postgres, dashboard):
    address = postgres.replace("gatebench@", "gatebench:hidden-word@")
    optuna.create_study(storage=address, study_name="kept")
    no_other_page_deletes_a_study(dashboard(address))
    assert b"hidden-word" not in Path(f"/proc/{dashboard.servers[0].pid}/cmdline").read_bytes()
    assert "hidden-word" not in dashboard.log.read_text()


@pytest.mark.parametrize("kind", ["postgresql", "nothing"])
def test_a_storage_that_cannot_be_opened_shows_no_password(dashboard, kind):
    with pytest.raises(UserError, match="Optuna's dashboard did not start on port") as caught:
        dashboard(f"{kind}://u:hidden-word@127.0.0.1:1/none")
    assert "the storage cannot be opened: " in dashboard.log.read_text()
    assert "hidden-word" not in str(caught.value) + dashboard.log.read_text()


def test_mlflow_refuses_other_pages_too_whatever_the_environment_allows(tracked, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*")
    with ui.served("suite", tracked, None, tmp_path / "ui.log") as links:
        port = urllib.parse.urlsplit(links[0].address).port
        commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
        assert any("mlflow" in command for command in commands)
        assert not any(tracked in command for command in commands)
        number = Delivery(tracked).client.get_experiment_by_name("suite").experiment_id
        body = json.dumps({"experiment_id": number})
        for api in ("api", "ajax-api"):
            for headers in FOREIGN:
                status, _, text = ask(port, "POST", f"/{api}/2.0/mlflow/experiments/delete", headers, body)
                assert status == 403, (headers, text)
        assert ask(port, "GET", "/", {"Host": "10.evil.example"})[0] == 403
        assert ask(port, "GET", "/", OWN)[0] == 200
        assert Delivery(tracked).client.get_experiment(number).lifecycle_stage == "active"
        changed = ask(port, "POST", "/api/2.0/mlflow/experiments/delete", OF_THIS_MACHINE[2], body)
        assert changed[0] == 200


def test_an_address_with_a_password_is_shown_without(tracked, tmp_path):
    with ui.served("suite", tracked, None, tmp_path / "ui.log") as links:
        port = urllib.parse.urlsplit(links[0].address).port
        remote = f"http://user:hidden-word@127.0.0.1:{port}"
        with ui.served("suite", remote, None, tmp_path / "ui.log") as found:
            assert {urllib.parse.urlsplit(link.address).netloc for link in found} == {f"127.0.0.1:{port}"}
        with (
            pytest.raises(UserError, match=f"^http://127.0.0.1:{port} holds no run of suite 'other'"),
            ui.served("other", remote, None, tmp_path / "ui.log"),
        ):
            pass
