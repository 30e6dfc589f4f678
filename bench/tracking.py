"""Finished results -> MLflow: a parent run a suite, a nested run a cell, axes as tags, curves as stepped metrics."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import keys
from bench.errors import is_disk_full
from bench.plan import Plan
from bench.store import Store
from bench.summary import CellResult, Summary, cell_curves

if TYPE_CHECKING:
    import pandas
    from mlflow.tracking import MlflowClient

METRICS_A_BATCH = 1000
RUN, CELL, RESULT = "gatebench.run_id", "gatebench.cell", "gatebench.result"
STUDY, TRIAL = "gatebench.study", "gatebench.trial"


@dataclass(frozen=True)
class Tracked:
    """Where the results are: the store's URI and the parent run."""

    uri: str
    experiment: str
    parent: str


def tracking_uri(results: Path) -> str:
    """MLFLOW_TRACKING_URI, else sqlite beside the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results.resolve() / 'mlflow.db'}"


def track(summary: Summary, plan: Plan, store: Store, folder: Path, uri: str) -> Tracked:
    """Log every finished cell once: cells that the parent run already has are left as they are."""
    client, experiment = _experiment(summary.suite, uri)
    parent = (
        _find(client, experiment, RUN, summary.run_id)
        or client.create_run(
            experiment, run_name=f"{summary.suite} {summary.run_id}", tags={RUN: summary.run_id, "suite": summary.suite}
        ).info.run_id
    )
    for claim in summary.claims:
        client.set_tag(parent, re.sub(r"[^\w\-./: ]", "_", f"claim.{claim.name}")[:250], claim.verdict)
    logged = {}
    for run in client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'", max_results=50_000):
        logged[run.data.tags.get(CELL)] = run
    for cell in summary.finished:
        before = logged.get(cell.id)
        if before and (before.info.status != "FINISHED" or before.data.tags.get(RESULT) != _digest(cell)):
            client.delete_run(before.info.run_id)  # cut off while it was logged, or logged by another version
            before = None
        if before is None:
            _log_cell(client, experiment, parent, cell, plan, store)
    for file in ("summary.json", "plan.json", "report.html"):
        if (folder / file).exists():
            client.log_artifact(parent, str(folder / file))
    client.set_terminated(parent)
    return Tracked(uri, experiment, parent)


@dataclass(frozen=True)
class TrialRow:
    """A finished trial as MLflow keeps it. rungs: optimizer step -> metrics on the tuning probes."""

    number: int
    state: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    rungs: Mapping[int, Mapping[str, float]]


def track_study(name: str, suite: str, trials: Sequence[TrialRow], best: int, uri: str) -> None:
    """A parent run a study, a nested run a trial; trials that are there already are left as they are."""
    client, experiment = _experiment(suite, uri)
    from mlflow.entities import Metric, Param

    tags = {STUDY: name, "suite": suite}
    parent = _find(client, experiment, STUDY, name) or client.create_run(
        experiment, run_name=f"tune {name}", tags=tags
    ).info.run_id  # fmt: skip
    client.set_tag(parent, "best_trial", str(best))
    runs = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'", max_results=50_000)
    logged = {run.data.tags.get(TRIAL) for run in runs if run.info.status == "FINISHED"}
    for trial in trials:
        if str(trial.number) in logged:
            continue
        own = {"mlflow.parentRunId": parent, TRIAL: str(trial.number), "state": trial.state}
        run = client.create_run(experiment, run_name=f"trial {trial.number}", tags=own).info.run_id
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, 0) for key, value in trial.metrics.items()]
        metrics += [
            Metric(f"tuning/{key}", value, now, step)
            for step, values in trial.rungs.items() for key, value in values.items()
        ]  # fmt: skip
        client.log_batch(run, metrics=metrics, params=[Param(k, str(v)) for k, v in trial.parameters.items()])
        client.set_terminated(run)
    client.set_terminated(parent)


def result_digest(summary: Summary) -> str:
    """What MLflow is to hold of a run; equal digests need no logging."""
    return keys.digest({
        "cells": {cell.id: _digest(cell) for cell in summary.finished},
        "claims": {claim.name: claim.verdict for claim in summary.claims},
    })  # fmt: skip


def _digest(cell: CellResult) -> str:
    return keys.digest([cell.stages["dynamics"].key, {n: repr(value) for n, value in cell.metrics.items()}])


def _experiment(suite: str, uri: str) -> tuple[MlflowClient, str]:
    """MLflow's client and the suite's experiment."""
    # results only on the terminal: MLflow and alembic log the making of a database line by line
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    with _alone(uri):
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(suite)
        return client, found.experiment_id if found else client.create_experiment(suite)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time makes an sqlite database and its experiments: MLflow's two would trip over each other."""
    kind, _, file = uri.partition(":///")
    if kind != "sqlite":
        yield
        return
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{file}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def why_not_written(uri: str, error: Exception) -> str:
    """The sentence for a tracking store that could not be written. Raises the error again for a full disk."""
    if is_disk_full(error):
        raise error
    first = (str(error).splitlines() or [""])[0]
    return f"{uri} could not be written ({type(error).__name__}: {first}); run again to log"


def _find(client: MlflowClient, experiment: str, tag: str, value: str) -> str | None:
    runs = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _log_cell(client: MlflowClient, experiment: str, parent: str, cell: CellResult, plan: Plan, store: Store) -> None:
    from mlflow.entities import Metric, Param

    tags = {name: str(value) for name, value in cell.axes().items()}
    tags |= {"mlflow.parentRunId": parent, CELL: cell.id, RESULT: _digest(cell)}
    tags |= {f"stage.{kind}": record.key for kind, record in cell.stages.items()}
    run = client.create_run(experiment, run_name=cell.id, tags=tags).info.run_id
    spec = keys.canonical(plan.nodes[cell.stages["train"].key].spec)
    params = [Param(name, str(value)[:500]) for name, value in _flat(spec).items()]
    now = int(time.time() * 1000)
    dynamics, training = cell_curves(store, cell, plan.tuned_on)
    metrics = [Metric(name, value, now, 0) for name, value in cell.metrics.items() if math.isfinite(value)]
    metrics += _stepped(dynamics, "dynamics/", now) + _stepped(training, "train/", now)
    for at in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run, metrics=metrics[at : at + METRICS_A_BATCH], params=params[:100] if at == 0 else ())
    client.set_terminated(run)


def _stepped(frame: pandas.DataFrame, prefix: str, now: int) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(prefix + str(name), float(value), now, int(step))
        for name in frame.columns.drop("step")
        for step, value in zip(frame["step"], frame[name], strict=True)
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found |= _flat(inner, f"{prefix}{key}.")
        elif inner is not None:
            found[prefix + key] = inner
    return found
