"""The one place that talks to MLflow: an entry is written so that writing it twice leaves it there once."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gatebench.bench import keys
from gatebench.bench.errors import is_disk_full
from gatebench.bench.secrets import without_secrets
from gatebench.bench.store.files import alone
from gatebench.bench.tracking.entries import KEY, VERSION, Entry, legal_names

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
METRICS_A_BATCH = 1000
PARAMETERS_A_BATCH = 100
BAD_REQUEST = 400
# A server that is down is asked again by the spool, not by minutes of waiting inside one request.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


def tracking_uri(results: Path) -> str:
    """MLFLOW_TRACKING_URI, else sqlite beside the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results.resolve() / 'mlflow.db'}"


# What a new sqlite database of MLflow's takes, and some; with less, MLflow waits minutes for an engine before it fails.
BYTES_TO_WRITE = 2_000_000
_IMPORTING = threading.Lock()


class Refused(Exception):
    """MLflow will never take this entry."""


def import_mlflow() -> None:
    """To be called before any import of MLflow's parts in a thread: two threads that import them at the same time
    stop each other half way, after which MLflow cannot be imported any more."""
    with _IMPORTING:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        # results only on the terminal: MLflow and alembic log the making of a database line by line
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        import mlflow.system_metrics.metrics.cpu_monitor
        import mlflow.system_metrics.metrics.gpu_monitor
        import mlflow.tracking  # noqa: F401

        # it logs a database's error with its traceback and raises it; whoever catches it tells it in a sentence
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class Delivery:
    """A connection to one tracking store, made on first use; experiments and parent runs are looked up once."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._parents: dict[str, str] = {}

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            import_mlflow()
            from mlflow.tracking import MlflowClient

            with _alone(self.uri):
                self._client = MlflowClient(tracking_uri=self.uri)
        return self._client

    def __call__(self, entry: Entry) -> None:
        """Write an entry. Raises Refused where MLflow finds some of it wrong, once the rest is written, else whatever
        stands in the way for now."""
        import_mlflow()
        from mlflow.exceptions import MlflowException

        _check_room(self.uri)
        try:
            self._write(entry)
        except MlflowException as error:
            if error.get_http_status_code() == BAD_REQUEST:
                raise Refused(first_line(error)) from error
            raise

    def _write(self, entry: Entry) -> None:
        from mlflow.entities import Metric, Param, RunTag

        client, refused = self.client, list[str]()
        run = self._run(entry)
        names = legal_names({*entry.parameters, *entry.tags, *(name for name, *_ in entry.metrics)})
        parameters = [Param(names[name], value) for name, value in entry.parameters.items()]
        points = [Metric(names[name], value, at, step) for name, value, step, at in entry.metrics]
        tags = [RunTag(names[name], value) for name, value in entry.tags.items()]
        _each(parameters, PARAMETERS_A_BATCH, lambda some: client.log_batch(run, params=some), refused)
        _each(points, METRICS_A_BATCH, lambda some: client.log_batch(run, metrics=some), refused)
        _each(tags, PARAMETERS_A_BATCH, lambda some: client.log_batch(run, tags=some), refused)
        _each(_inputs(entry), 1, lambda some: client.log_inputs(run, some), refused)
        _each(entry.artifacts, 1, lambda some: _log_file(client, run, Path(some[0])), refused)
        if entry.ends:
            client.set_terminated(run, end_time=entry.ended)
        if refused:
            raise Refused("; ".join(dict.fromkeys(refused)))

    def _run(self, entry: Entry) -> str:
        """The MLflow run of an entry, made if it is not there; one of another version gives way."""
        experiment = self._experiment(entry.experiment)
        parent = self._parents.get(entry.parent_key) or self._find(experiment, entry.parent_key)
        if parent is None:
            title = entry.name if entry.own is None else f"{entry.experiment} {entry.parent[1]}"
            parent = self._create(experiment, title, {entry.parent[0]: entry.parent[1], KEY: entry.parent_key})
        self._parents[entry.parent_key] = parent
        if entry.own is None:
            return parent
        found = self._find(experiment, entry.key)
        if found and self.client.get_run(found).data.tags.get(VERSION) != entry.version:
            self.client.delete_run(found)
            found = None
        tags = {"mlflow.parentRunId": parent, KEY: entry.key, entry.own[0]: entry.own[1], VERSION: entry.version}
        return found or self._create(experiment, entry.name, tags, entry.started)

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            with _alone(self.uri):
                found = self.client.get_experiment_by_name(name)
                where = artifacts_beside(self.uri, name)
                self._experiments[name] = found.experiment_id if found else self.client.create_experiment(name, where)
        return self._experiments[name]

    def _create(self, experiment: str, name: str, tags: dict[str, str], started: int | None = None) -> str:
        """The run made, or that of the same key which another process made at the same time and a little earlier."""
        made = str(self.client.create_run(experiment, started, tags, name).info.run_id)
        equals = self.client.search_runs([experiment], f"tags.`{KEY}` = '{tags[KEY]}'")
        first = min(equals, key=lambda run: (run.info.start_time, run.info.run_id)).info.run_id if equals else made
        if first != made:
            self.client.delete_run(made)
        return str(first)

    def _find(self, experiment: str, key: str) -> str | None:
        found = self.client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None


def why_not_written(uri: str, error: Exception) -> str:
    """The sentence for a tracking store that could not be written. Raises the error again for a full disk."""
    if is_disk_full(error):
        raise error
    told = f"{type(error).__name__}: {first_line(error)}"
    return f"{without_secrets(uri)} could not be written ({told}); run again to log"


def first_line(error: Exception) -> str:
    """Of what an error says, or the database's driver under it, without the passwords of addresses in it."""
    told = getattr(error.__cause__, "orig", None) or error
    return without_secrets((str(told).splitlines() or [""])[0])


def _each(rows: Sequence[T], size: int, log: Callable[[list[T]], object], refused: list[str]) -> None:
    """Log rows in batches; of a batch that MLflow finds wrong each alone, so that a bad one takes no other with it."""
    from mlflow.exceptions import MlflowException

    for at in range(0, len(rows), size):
        batch = list(rows[at : at + size])
        try:
            log(batch)
        except MlflowException as error:
            if error.get_http_status_code() != BAD_REQUEST:
                raise
            if size > 1:
                _each(batch, 1, log, refused)
            else:
                refused.append(first_line(error))


def _log_file(client: MlflowClient, run: str, place: Path) -> None:
    if place.is_dir():
        client.log_artifacts(run, str(place), place.name)
    elif place.exists():
        client.log_artifact(run, str(place))


def _inputs(entry: Entry) -> list[DatasetInput]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [DatasetInput(Dataset(**fields), [InputTag("mlflow.data.context", "training")]) for fields in entry.datasets]


def sqlite_file(uri: str) -> Path | None:
    """The file of an sqlite tracking store; None for every other one."""
    kind, _, file = uri.partition(":///")
    return Path(file) if kind == "sqlite" else None


def artifacts_beside(uri: str, experiment: str) -> str | None:
    """Where an experiment's files go: beside an sqlite database, else where the server wants them."""
    file = sqlite_file(uri)
    return (file.resolve().parent / "mlartifacts" / keys.digest(experiment)).as_uri() if file else None


def _check_room(uri: str) -> None:
    """Raises OSError for an sqlite database on a full disk."""
    file = sqlite_file(uri)
    if file and file.parent.is_dir() and shutil.disk_usage(file.parent).free < BYTES_TO_WRITE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time makes an sqlite database and its experiments: MLflow's two would trip over each other."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    with alone(Path(f"{file}.lock")):
        yield
