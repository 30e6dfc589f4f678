"""Finished results -> what MLflow is to hold of them: a parent run a suite with what its cells share, a nested run a
cell with what tells it apart, curves as stepped metrics. Pure: nothing here talks to MLflow (delivery.py does)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench import keys
from gatebench.bench.analysis.answer import answer
from gatebench.bench.analysis.summary import CellResult, Summary, cell_curves
from gatebench.bench.data.source import DataSource
from gatebench.bench.metrics import registry
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.store.store import Store
from gatebench.bench.tracking.differences import setting_differences, stage_settings

if TYPE_CHECKING:
    import pandas

RUN, CELL, VERSION, KEY = "gatebench.run_id", "gatebench.cell", "gatebench.result", "gatebench.key"
STUDY, TRIAL = "gatebench.study", "gatebench.trial"
PARENT_FILES = ("suite.yaml", "plan.json", "summary.json", "cells.parquet", "report.html", "figures")
LONGEST_PARAMETER, LONGEST_NAME = 500, 250
SECTIONS = {"train": "probes", "test": "held-out"}  # other splits by their own name
MetricPoint = tuple[str, float, int, int]  # name, value, step, milliseconds since 1970


@dataclass(frozen=True)
class Entry:
    """Some of what one MLflow run holds. Delivered again it changes nothing: metrics carry their time.

    parent: (tag, value) by which the parent run is found; own: the same of a nested run, None for the parent itself.
    version: a nested run of another version is replaced. datasets: fields of MLflow's Dataset; artifacts: files and
    folders. ends: whether the run is finished with this entry. started, ended: milliseconds since 1970, where they are
    not those of the telling.
    """

    experiment: str
    parent: tuple[str, str]
    name: str
    own: tuple[str, str] | None = None
    version: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[MetricPoint, ...] = ()
    datasets: tuple[Mapping[str, str], ...] = ()
    artifacts: tuple[str, ...] = ()
    ends: bool = True
    started: int | None = None
    ended: int | None = None

    @property
    def mark(self) -> str:
        """What is remembered of a delivered entry."""
        return keys.digest([self.experiment, self.parent, self.own, self.version])

    @property
    def key(self) -> str:
        """By which the run of this entry is found, whatever characters its name has."""
        return keys.digest([self.parent, self.own])

    @property
    def parent_key(self) -> str:
        return keys.digest([self.parent, None])


def legal_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as MLflow takes it: letters, digits and ``_-.: /`` in the form of a path, each another. Most stay."""
    found, taken = dict[str, str](), set[str]()
    for name in sorted(names, key=lambda name: (_cleaned(name) != name, name)):  # what may stay has the first choice
        clean = _cleaned(name)
        found[name] = f"{clean[: LONGEST_NAME - 7]}_{keys.digest(name)[:6]}" if clean in taken else clean
        taken.add(found[name])
    return found


def _cleaned(name: str) -> str:
    spelt = re.sub(r"[^\w\-./: ]|^\.\.", "_", name.replace("@", "_at_"))
    parts = [part for part in spelt.split("/") if part.strip(".")]
    return "/".join(parts)[:LONGEST_NAME].rstrip("/") or "_"


def now() -> int:
    return int(time.time() * 1000)


def version_of(cell: CellResult) -> str:
    """Equal for equal results of a cell."""
    return keys.digest([cell.stages["dynamics"].key, {name: repr(value) for name, value in cell.metrics.items()}])


def cell_mark(cell: CellResult, suite: str, run: str) -> Entry:
    """Where a finished cell goes and in which version, without what goes there."""
    return Entry(suite, (RUN, run), cell.id, (CELL, cell.id), version_of(cell))


def cell_entry(cell: CellResult, plan: Plan, run: str, store: Store) -> Entry:
    """The nested run of a finished cell: its axes, what of its stages' settings other cells have otherwise, the gate's
    tau and alpha as measured, all curves; the store's keys as tags. It lasts from its training to its last result."""
    axes = {name: str(value) for name, value in cell.axes().items()}
    tags = axes | {f"stage.{kind}": record.key for kind, record in cell.stages.items()}
    tags["model_folder"] = f"train/{cell.stages['train'].key}/model"  # in the store
    differing, resolved = setting_differences(plan).differing, cell.stages["train"].facts.get("gate")
    parameters: dict[str, object] = dict(axes)
    for record in cell.stages.values():
        own = stage_settings(plan.nodes[record.key])
        parameters |= {place: value for place, value in own.items() if place in differing}
    if isinstance(resolved, Mapping):
        parameters |= {name: value for name, value in resolved.items() if value is not None}
    finished = {kind: store.manifest(kind, record.key)["finished"] for kind, record in cell.stages.items()}
    at = int(finished["dynamics"] * 1000)  # the same each time it is told
    started = finished["train"] - (cell.stages["train"].seconds or 0)
    dynamics, training = cell_curves(store, cell, plan.tuned_on)
    named = sections(cell.metrics)
    metrics = [(named[name], value, 0, at) for name, value in cell.metrics.items() if math.isfinite(value)]
    kept = [
        str(store.path(kind, record.key) / file)
        for kind, record in cell.stages.items() for file in stage_of(kind).artifacts
    ]  # fmt: skip
    return replace(
        cell_mark(cell, plan.suite, run), tags=tags, parameters=_texts(parameters),
        metrics=(*metrics, *_stepped(dynamics, "dynamics/", at), *_stepped(training, "train/", at)),
        datasets=(_dataset(cell.dataset, plan.nodes[cell.stages["train"].key].spec.data),), artifacts=tuple(kept),
        started=int(started * 1000), ended=int(max(finished.values()) * 1000),
    )  # fmt: skip


def sections(metrics: Collection[str]) -> dict[str, str]:
    """Each metric's name in MLflow, whose UI makes a section of what stands before the slash."""
    found, known = set(metrics), set(registry.names())
    named = dict[str, str]()
    for metric in metrics:
        split = registry.place_of(metric)[0]
        section = SECTIONS.get(split, split) if metric in known else "tasks"
        interval = metric.endswith(("_lo", "_hi")) and metric[:-3] in found
        named[metric] = f"{'intervals' if interval else section}/{metric}"
    return named


def parent_entry(summary: Summary, plan: Plan, folder: Path) -> Entry:
    """The parent run: the answer, what the claims came to, what all cells share, and the files of the run's folder."""
    tags = {"suite": summary.suite, "mlflow.note.content": answer(summary)}
    tags |= {f"claim.{claim.name}": claim.told for claim in summary.claims}
    tags |= {"cells": str(len(summary.cells)), "finished_cells": str(len(summary.finished))}
    files = tuple(str(folder / file) for file in PARENT_FILES if (folder / file).exists())
    version = keys.digest([sorted(map(version_of, summary.finished)), tags])
    return Entry(
        summary.suite, (RUN, summary.run_id), f"{summary.suite} {summary.run_id}", None, version, tags,
        _texts(setting_differences(plan).shared), artifacts=files,
    )  # fmt: skip


def system_entry(suite: str, run: str, sample: int, values: Mapping[str, float]) -> Entry:
    """How busy the machine was at one moment of the run."""
    at = now()
    metrics = tuple((f"system/{name}", value, sample, at) for name, value in values.items())
    return Entry(suite, (RUN, run), f"{suite} {run}", None, f"system {at}", metrics=metrics, ends=False)


@dataclass(frozen=True)
class TrialRow:
    """A finished trial as MLflow keeps it. rungs: optimizer step -> metrics on the tuning probes."""

    number: int
    state: str
    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
    rungs: Mapping[int, Mapping[str, float]]


def study_entries(name: str, suite: str, trials: Iterable[TrialRow], best: int) -> list[Entry]:
    """A parent run a study, a nested run a trial."""
    parent, title = (STUDY, name), f"tune {name}"
    found = [
        Entry(
            suite, parent, f"trial {trial.number}", (TRIAL, str(trial.number)), keys.digest(_of(trial)),
            {"state": trial.state}, _texts(trial.parameters), tuple(_trial_metrics(trial)),
        ) for trial in trials
    ]  # fmt: skip
    tags = {"suite": suite, "best_trial": str(best)}
    return [*found, Entry(suite, parent, title, None, keys.digest([len(found), tags]), tags)]


def _of(trial: TrialRow) -> list[object]:
    return [trial.state, {name: repr(value) for name, value in trial.metrics.items()}]


def _trial_metrics(trial: TrialRow) -> Iterable[MetricPoint]:
    at = now()
    yield from ((key, value, 0, at) for key, value in trial.metrics.items())
    for step, values in trial.rungs.items():
        yield from ((f"tuning/{key}", value, step, at) for key, value in values.items())


def _stepped(frame: pandas.DataFrame, prefix: str, at: int) -> list[MetricPoint]:
    return [
        (prefix + str(name), float(value), int(step), at)
        for name in frame.columns.drop("step")
        for step, value in zip(frame["step"], frame[name], strict=True)
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def _dataset(name: str, source: DataSource) -> dict[str, str]:
    kind = "builtin" if source.path.startswith("builtin:") else "local" if Path(source.path).exists() else "hf"
    return {"name": name, "digest": keys.digest(source.content), "source_type": kind, "source": source.path}


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:LONGEST_PARAMETER] for name, value in values.items()}


def to_json(entry: Entry) -> dict[str, keys.Json]:
    return asdict(entry)


def from_json(text: str | bytes) -> Entry:
    from pydantic import TypeAdapter

    return TypeAdapter(Entry).validate_json(text)
