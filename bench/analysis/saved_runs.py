"""What `bench compare` is given, read: run folders and tables of published results."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.analysis.comparison import Published
from gatebench.bench.analysis.probe_arrays import Measured
from gatebench.bench.analysis.summary import Summary, measured, read_summary
from gatebench.bench.errors import UserError, at
from gatebench.bench.metrics import registry
from gatebench.bench.store.files import sha256_of
from gatebench.bench.store.runs import bring_runs
from gatebench.bench.store.store import Store
from gatebench.objectives.names import nearest

PUBLISHED_AXES = ("model", "loss", "gate")
BUILT = "built.json"  # what a run's folder was when it was written: digests of its files


def digests(folder: Path) -> dict[str, str]:
    """sha256 of the files that a run's folder holds, of those that are written once and read again."""
    names = ("summary.json", "plan.json", "cells.parquet", "report.html", "suite.yaml")
    return {name: sha256_of(folder / name) for name in names}


@dataclass(frozen=True)
class SavedRun:
    """A run's folder with its results. probes: data set -> what its probes follow from."""

    folder: Path
    summary: Summary
    probes: dict[str, object]

    def cells(self) -> list[Measured]:
        """The finished cells with their probes' values, from the store that the run's folder stands beside."""
        store = Store(self.folder.resolve().parents[2] / "store")
        missing = [c.id for c in self.summary.finished if not store.is_finished("dynamics", c.stages["dynamics"].key)]
        if missing:
            raise UserError(
                f"{self.folder}: the store beside it lacks the dynamics of {missing[0]}"
                f" ({len(missing)} cells in all); run the suite again"
            )
        with store.in_use():
            return [measured(cell, store, self.summary.tuned_on) for cell in self.summary.finished]


def read_run(given: str, results: Path) -> SavedRun:
    """A run by its folder, its summary.json, or the name of a suite that has one run."""
    folder = Path(given)
    folder = folder.parent if folder.name == "summary.json" else folder
    bring_runs(results)
    runs = results / "runs"
    if not (folder / "summary.json").exists() and (runs / given).is_dir():
        found = sorted(path.parent for path in (runs / given).glob("*/summary.json"))
        if len(found) > 1:
            raise UserError(f"{given}: {len(found)} runs; name one of {', '.join(map(str, found))}")
        folder = found[0] if found else folder
    if not (folder / "summary.json").exists():
        suites = [path.name for path in runs.glob("*")]
        raise UserError(
            f"{given}: no run; expected a folder with summary.json or a suite that was run in {runs}"
            + (f"; {nearest(given, suites)}" if suites else "")
        )
    _check(folder)
    try:
        plan = json.loads((folder / "plan.json").read_bytes())
        stages = plan["stages"]
        probes = {cell["dataset"]: stages[cell["stages"]["dynamics"]]["spec"]["data"] for cell in plan["cells"]}
        return SavedRun(folder, read_summary(folder), probes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # pydantic's is a ValueError
        raise UserError(
            f"{folder}: plan.json or summary.json cannot be read; `bench report` of its suite writes them anew"
        ) from None


def _check(folder: Path) -> None:
    """Raise UserError where a file of a run's folder is not what was written, as far as that was written down."""
    if not (folder / BUILT).exists():
        return
    try:
        wanted = json.loads((folder / BUILT).read_bytes()).get("files", {})
        found = digests(folder)
        wrong = [name for name in wanted if found[name] != wanted[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        wrong = [BUILT]
    if wrong:
        raise UserError(
            f"{folder}: {wrong[0]} is not what was written there; `bench report` of its suite writes it anew"
        )


def read_published(file: Path) -> list[Published]:
    """The rows of a table with the columns of AXES and the published metrics; an empty figure is missing."""
    metrics, columns = registry.published(), (*PUBLISHED_AXES, *registry.published())
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise UserError(f"{file}: no column {', '.join(lacking)}; expected {', '.join(columns)}")
        rows = []
        for row in reader:
            try:
                values = {name: float(row[name]) for name in metrics if row[name]}
            except ValueError as error:
                raise UserError(f"{at(file, reader.line_num)} {error}; expected a number or nothing") from None
            rows.append(Published(row["model"], row["loss"], row["gate"], values))
    return rows
