"""`bench ui`: MLflow's UI, and Optuna's dashboard where there is a study, on 127.0.0.1 while the command runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.loopback import HOST, free_port, own_hosts
from gatebench.bench.metrics import registry
from gatebench.bench.plan.graph import NAME_AXES
from gatebench.bench.process import die_with_parent
from gatebench.bench.tracking.delivery import Delivery, first_line
from gatebench.bench.tracking.entries import RUN, STUDY, sections
from gatebench.bench.tracking.optuna_server import STORAGE

MLFLOW_PORT, OPTUNA_PORT = 5000, 8080
SECONDS_TO_START = 60.0
# settings of the user's for a server of MLflow's that others reach: they would open this one too
OPENING = ("MLFLOW_SERVER_", "MLFLOW_UVICORN_OPTS", "MLFLOW_GUNICORN_OPTS")
MOST_COMPARED = 100  # runs named in one address
VIEW = "gatebench"  # the name of our choice of columns in MLflow's shared views


@dataclass(frozen=True)
class Link:
    what: str
    address: str


@contextmanager
def served(suite: str, uri: str, storage: str | None, log: Path) -> Iterator[list[Link]]:
    """The links to a suite's results, while their servers run. storage: Optuna's, where there are studies; log: where
    the servers write their lines.

    Raises UserError where MLflow holds nothing of the suite, or a server does not start.
    """
    own: list[subprocess.Popen[bytes]] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        links = _links(suite, uri, _shown(uri).rstrip("/") if uri.startswith("http") else None)
        with log.open("ab") as lines:
            if not uri.startswith("http"):
                port = free_port(MLFLOW_PORT)
                _start("MLflow's UI", *_mlflow(uri, port), port, log, lines, own)
                links = _links(suite, uri, f"http://{HOST}:{port}")
            if storage:
                port = free_port(OPTUNA_PORT)
                _start("Optuna's dashboard", *_optuna(storage, port), port, log, lines, own)
                links.append(
                    Link("the studies of `bench tune`, in Optuna's dashboard", f"http://{HOST}:{port}/dashboard/")
                )
        yield links
    finally:
        for server in own:
            _end(server)


def _mlflow(uri: str, port: int) -> tuple[list[str], dict[str, str]]:
    """MLflow's server as Python's arguments, and the environment that holds what a list of processes must not show.

    Left to itself it also answers to names that begin like a private address (10.example.com), which any site can have.
    """
    hosts = own_hosts(port)
    options = ["--host", HOST, "--port", str(port), "--workers", "1", "--allowed-hosts", ",".join(hosts)]
    origins = ["--cors-allowed-origins", ",".join(f"http://{host}" for host in hosts)]
    # MLflow's background jobs serve its assistants; without them six processes less have to be ended
    return ["-m", "mlflow", "server", *options, *origins], {
        "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # fmt: skip


def _optuna(storage: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Optuna's dashboard, as above."""
    return ["-m", "gatebench.bench.tracking.optuna_server", str(port)], {STORAGE: storage}


def _links(suite: str, uri: str, address: str | None) -> list[Link]:
    """`_found`. Raises UserError too where the tracking store cannot be read."""
    try:
        return _found(suite, uri, address)
    except (UserError, OSError):
        raise
    except Exception as error:  # MLflow raises its own kinds and those of every backend it talks to
        told = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(
            f"{_shown(uri)} cannot be read ({told}); where it is damaged, move it away and `bench run` writes it anew"
        ) from None


def _found(suite: str, uri: str, address: str | None) -> list[Link]:
    """Where the suite's runs are in MLflow's UI at an address; its columns are chosen for them on the way."""
    client = Delivery(uri).client
    experiment = client.get_experiment_by_name(suite)
    if experiment is None:
        raise UserError(f"{_shown(uri)} holds no run of suite {suite!r}; `bench run` it first")
    number = experiment.experiment_id
    newest = client.search_runs([number], f"tags.`{RUN}` != ''", max_results=1)
    parent = newest[0].info.run_id if newest else ""
    own = f"tags.`mlflow.parentRunId` = '{parent}'"
    cells = [run.info.run_id for run in client.search_runs([number], own)]
    shown = [
        *(f"tags.`{axis}`" for axis in NAME_AXES),
        *(f"metrics.`{metric}`" for metric in sections([*registry.headline(), *registry.held_out()]).values()),
    ]
    view = {"selectedColumns": shown, "searchFilter": own, "orderByKey": "attributes.`Created`",
            "orderByAsc": False, "viewMaximized": True}  # fmt: skip
    client.set_experiment_tag(number, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
    runs = f"{address}/#/experiments/{number}/runs"
    found = [
        Link("the cells of the newest run, with this suite's columns", f"{runs}?viewStateShareKey={VIEW}"),
        Link("their curves", f"{runs}?viewStateShareKey={VIEW}&compareRunsMode=CHART"),
        Link("the run with its report", f"{runs}/{parent}"),
    ]
    if len(cells) > 1:
        what = f"its cells compared{f', the first {MOST_COMPARED}' if len(cells) > MOST_COMPARED else ''}"
        named, of = (
            urllib.parse.quote(json.dumps(ids, separators=(",", ":"))) for ids in (cells[:MOST_COMPARED], [number])
        )
        found.append(Link(what, f"{address}/#/compare-runs?runs={named}&experiments={of}"))
    if client.search_runs([number], f"tags.`{STUDY}` != ''", max_results=1):
        query = urllib.parse.quote(f"tags.`{STUDY}` != ''")
        found.append(Link("studies and their trials", f"{runs}?searchFilter={query}"))
    return found


def _shown(uri: str) -> str:
    """An address without the user and the password in it: links and sentences are seen, links by `ps` too (--open)."""
    place = urllib.parse.urlsplit(uri).netloc
    return uri.replace(place, place.rpartition("@")[2], 1)


def _start(
    what: str, arguments: Sequence[str], settings: Mapping[str, str], port: int, log: Path, lines: object,
    own: list[subprocess.Popen[bytes]],
) -> None:  # fmt: skip
    """Start a Python program that serves, with settings in its environment, and wait until it answers."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(OPENING)}
    given["PYTHONSAFEPATH"] = "1"  # nothing of the folder that the command is given in is imported
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=lines, stderr=lines, env={**given, **settings},  # type: ignore[call-overload]
        start_new_session=True, preexec_fn=die_with_parent,
    )  # fmt: skip
    own.append(server)
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"{what} did not start on port {port}; see {log}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server and what it started itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            return
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            continue
