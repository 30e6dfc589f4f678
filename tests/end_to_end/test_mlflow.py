"""MLflow for real: a server over HTTP that is killed in the middle of a run, and PostgreSQL."""

import json
import os
import signal
import subprocess
import sys

import pytest
import requests

from gatebench.bench.secrets import without_secrets
from gatebench.bench.tracking.spool import FOLDER
from tests.helpers import GOOD, LONGEST_WAIT, bench, free_port, run_folder, start_bench, wait_for, write

pytestmark = pytest.mark.slow


class Server:
    """`mlflow server` on a free port of loopback; down at first, killed and started again on the same database."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
                   "--artifacts-destination", str(self.folder / "artifacts")]  # fmt: skip
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
                # seven processes that no run speaks to
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        wait_for(self.answers, "MLflow server")

    def answers(self):
        try:
            return requests.get(f"{self.uri}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(tmp_path):
    """Down until it is started."""
    found = Server(tmp_path)
    yield found
    found.kill()


def logged(uri):
    """{cell: {metric: [(step, value), ...]}} of the experiment, in the order of the steps."""
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(uri), {}
    for run in client.search_runs([client.get_experiment_by_name("good").experiment_id]):
        assert run.info.status == "FINISHED"
        name = run.info.run_name
        assert name not in found, f"{name} is there twice"
        histories = {metric: client.get_metric_history(run.info.run_id, metric) for metric in run.data.metrics}
        found[name] = {
            metric: sorted((point.step, point.value) for point in points) for metric, points in histories.items()
        }
    (parent,) = [name for name in found if "/" not in name]
    for points in found.pop(parent).values():  # the machine's load, which no two runs have alike
        assert len(points) == len(dict(points)), "a step is there twice"
    return found


def finished(folder, kind):
    """How many stages of a kind have ended in the one run under way."""
    logs = list((folder / "results/runs/good").glob("*/log.jsonl"))
    lines = logs[0].read_text().splitlines() if logs else []
    return sum(event["what"] == "finished" and event["kind"] == kind for event in map(json.loads, lines))


def test_a_server_killed_in_the_middle_of_a_run_has_every_metric_once(tmp_path, server):
    suite = write(tmp_path, GOOD)
    server.start()
    run = start_bench("run", suite, "--results", tmp_path / "results", "--workers", 1, MLFLOW_TRACKING_URI=server.uri)
    wait_for(lambda: finished(tmp_path, "dynamics") >= 3, "first cell")  # two of them are of the start
    server.kill()
    wait_for(lambda: finished(tmp_path, "dynamics") >= 5, "cell while the server is down")
    wait_for(lambda: any((run_folder(tmp_path) / FOLDER).rglob("*.json")), "entry that waits")
    server.start()
    said = run.communicate(timeout=LONGEST_WAIT)[1]
    assert run.returncode == 0, said
    assert server.uri in said
    again = bench("run", suite, "--results", tmp_path / "results", "--workers", 1, MLFLOW_TRACKING_URI=server.uri)
    assert again.returncode == 0, again.stderr
    beside = bench("run", suite, "--results", tmp_path / "results")  # the same run into sqlite, never interrupted
    assert beside.returncode == 0, beside.stderr
    found = logged(server.uri)
    assert len(found) == 4
    assert found == logged(f"sqlite:///{tmp_path}/results/mlflow.db")


def test_a_server_that_stays_away_costs_no_result_and_gets_all_of_it_later(tmp_path, server):
    suite = write(tmp_path, GOOD)
    done = bench("run", suite, "--results", tmp_path / "results", "--workers", 1, MLFLOW_TRACKING_URI=server.uri)
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Δ chosen" in done.stdout
    server.start()
    done = bench("run", suite, "--results", tmp_path / "results", "--workers", 1, MLFLOW_TRACKING_URI=server.uri)
    assert done.returncode == 0, done.stderr
    assert len(logged(server.uri)) == 4


@pytest.mark.postgres
def test_postgresql_keeps_what_sqlite_keeps(tmp_path, postgres, good_run):
    good_run.copy_store(tmp_path)
    suite = write(tmp_path, GOOD)
    # MLflow puts a database's files under the folder it is used from
    done = bench(
        "run", suite, "--results", tmp_path / "results", "--workers", 1, cwd=tmp_path, MLFLOW_TRACKING_URI=postgres
    )
    assert done.returncode == 0, done.stderr
    assert f"MLflow: {without_secrets(postgres)}" in done.stderr.splitlines(), done.stderr
    done = bench("run", suite, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert logged(postgres) == logged(f"sqlite:///{tmp_path}/results/mlflow.db")
