"""One suite from plan to results: what stands in the store is kept, what is missing is made, and all of it told."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import summary as summaries
from bench.errors import is_disk_full
from bench.executors.base import Event, Outcome, check_store, execute
from bench.executors.local import LocalExecutor, default_workers
from bench.plan import Plan, Sources
from bench.progress import PLAIN, Progress
from bench.resolve import check_data
from bench.store import Store, write_json
from bench.tracking import track, tracking_uri
from dashboards.report import write_report

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Prepared:
    """A suite file read, resolved and planned, and the folder of its results."""

    file: Path
    plan: Plan
    sources: Sources
    results: Path

    @property
    def store(self) -> Store:
        return Store(self.results / "store")

    @property
    def folder(self) -> Path:
        """Where this run's results go; equal cells have an equal folder."""
        return self.results / "runs" / self.plan.suite / summaries.run_id(self.plan)

    @property
    def missing(self) -> int:
        """How many stages are not finished."""
        return len(self.plan.nodes) - len(self.store.finished_among(self.plan.addresses))


@dataclass(frozen=True)
class Done:
    """What a run made and where it is. tracked: MLflow's address, or why nothing could be written there."""

    summary: summaries.Summary
    outcome: Outcome
    report: Path
    tracked: str
    seconds: float


def run(prepared: Prepared, err: Console, workers: int | None = None, fail_fast: bool = False) -> Done:
    """Make every missing stage, then summary, report and MLflow runs. err: where progress is shown.

    Raises KeyboardInterrupt through, with all workers stopped; DiskFull when nothing more can be written.
    """
    started = time.monotonic()
    outcome = _make_stages(prepared, err, workers, fail_fast)
    summary = summaries.summarize(prepared.plan, prepared.store, outcome)
    summaries.write(summary, prepared.plan, prepared.folder)
    report = write_report(summary, prepared.store, prepared.folder)
    shutil.copyfile(prepared.file, prepared.folder / "suite.yaml")
    return Done(summary, outcome, report, _track(summary, prepared), time.monotonic() - started)


def _make_stages(prepared: Prepared, err: Console, workers: int | None, fail_fast: bool) -> Outcome:
    plan, store = prepared.plan, prepared.store
    damaged: Sequence[Event] = check_store(plan, store)
    missing = prepared.missing
    if not missing:
        return Outcome(cached=set(plan.nodes))
    check_data(prepared.sources)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    count, threads, devices = default_workers()
    count = min(workers or count, missing)
    err.print(f"{len(plan.cells)} cells, {missing} of {len(plan.nodes)} stages to run, {count} workers", **PLAIN)
    executor = LocalExecutor(count, threads, devices, prepared.folder / "logs")
    try:
        with Progress(plan, store, count, err, prepared.folder / "log.jsonl") as progress:
            for event in damaged:
                progress(event)
            return execute(plan, store, executor, progress, fail_fast)
    finally:
        executor.close()


def _track(summary: summaries.Summary, prepared: Prepared) -> str:
    """Log to MLflow unless this run's cells are logged there already; a server that is down loses nothing."""
    uri = tracking_uri(prepared.results)
    marker = prepared.folder / "tracked.json"
    state = {"uri": uri, "cells": {cell.id: cell.stages["dynamics"].key for cell in summary.finished}}
    if marker.exists() and json.loads(marker.read_text()) == state:
        return uri
    try:
        track(summary, prepared.plan, prepared.store, prepared.folder, uri)
    except Exception as error:  # MLflow raises its own kinds and those of every backend it talks to
        if is_disk_full(error):
            raise
        return f"{uri} could not be written ({type(error).__name__}: {str(error).splitlines()[0]}); run again to log"
    write_json(marker, state)
    return uri
