"""What there is to run and to look at: suites, their runs, the runs' cells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gatebench.bench.analysis.summary import CellResult, read_summary
from gatebench.bench.analysis.table import Column, Table, TableCell, numbers, row, texts, value_and_interval
from gatebench.bench.errors import UserError
from gatebench.bench.metrics import registry
from gatebench.bench.shipped import SUITE_ENDINGS, shipped_suites, suite_file
from gatebench.bench.store.runs import bring_runs
from gatebench.bench.store.store import Store
from gatebench.bench.suite.reader import name_in, profiles_of, text_of_suite
from gatebench.objectives.names import nearest

SUMMARY, EVENTS = "summary.json", "log.jsonl"  # files of a run's folder
HERE = (".", "suites")  # where a user's own suites are looked for


@dataclass(frozen=True)
class KnownSuite:
    """name: what a command line takes; runs: what its runs go by; about: the first sentence of the comment that its
    file begins with."""

    name: str
    runs: str
    file: Path
    profiles: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class KnownRun:
    """written: when its folder was written to, in seconds since 1970; state: "interrupted" for one that ended, and
    "running" for one that goes on, without the results of all that it did."""

    suite: str
    folder: Path
    cells: tuple[CellResult, ...]
    written: float
    state: Literal["whole", "incomplete", "running", "interrupted"]

    @property
    def id(self) -> str:
        return self.folder.name


def known_suites() -> list[KnownSuite]:
    """The shipped suites by their names, then the suite files of this folder and of `suites` in it by their paths."""
    shipped = shipped_suites()
    own = [file for place in HERE for file in sorted(Path(place).glob("*")) if file.suffix in SUITE_ENDINGS]
    own = [file for file in own if file.resolve() not in {path.resolve() for path in shipped.values()}]
    found = [(name, file) for name, file in shipped.items()] + [(str(file), file) for file in own]
    return [suite for name, file in found if (suite := _suite(name, file))]


def _suite(name: str, file: Path) -> KnownSuite | None:
    """None for a YAML file that is no suite."""
    try:
        profiles, text, runs = tuple(profiles_of(file)), text_of_suite(file), name_in(file)
    except UserError:
        return None
    if not {"models:", "gates:"} <= {line.split(" ")[0] for line in text.splitlines()}:
        return None
    head = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    about = " ".join(head)
    ends = [place for end in (". ", "? ") if (place := about.find(end)) > 0]
    return KnownSuite(name, runs, file, profiles, about[: min(ends) + 1] if ends else about)


def known_runs(results: Path, suite: str | None = None) -> list[KnownRun]:
    """The runs below a folder of results, the newest first. suite: the name that they go by, or the suite itself as
    other commands take it. Raises UserError for one that has none."""
    bring_runs(results)
    root = results / "runs"
    names = sorted(place.name for place in root.glob("*") if place.is_dir())
    if suite is not None and suite not in names and suite_file(suite).is_file():
        suite = name_in(suite_file(suite))
    if suite is not None and suite not in names:
        raise UserError(f"{suite}: no run of it in {root}" + (f"; {nearest(suite, names)}" if names else ""))
    folders = [place for name in ([suite] if suite else names) for place in (root / name).glob("*")]
    found = [run for folder in folders if (run := _known_run(folder, Store(results / "store")))]
    return sorted(found, key=lambda run: -run.written)


def _known_run(folder: Path, store: Store) -> KnownRun | None:
    """None for a folder that no run wrote to. A run tells its events first and writes its summary at its end."""
    times = {name: (folder / name).stat().st_mtime for name in (EVENTS, SUMMARY) if (folder / name).is_file()}
    if not times:
        return None
    try:
        cells = read_summary(folder).cells
    except (OSError, ValueError, KeyError, TypeError):  # none, half of one, or of another version
        cells = ()
    written = max(times.values())
    if times.get(EVENTS, 0.0) > times.get(SUMMARY, 0.0):
        return KnownRun(folder.parent.name, folder, cells, written, "running" if _is_used(store) else "interrupted")
    whole = bool(cells) and all(cell.status == "finished" for cell in cells)
    return KnownRun(folder.parent.name, folder, cells, written, "whole" if whole else "incomplete")


def _is_used(store: Store) -> bool:
    if store.shared is not None and store.shared.mirror is None:
        return bool(store.shared.leases.held())  # `alone` would watch for a minute whether their owners live
    try:
        with store.alone():
            return False
    except (UserError, OSError):  # OSError: no rights to ask, so nobody knows that it is not
        return True


def suites_table(suites: Sequence[KnownSuite]) -> Table:
    head = (*texts("suite", "its runs"), Column("profiles", wraps=True), Column("about", wraps=True))
    rows = [row(suite.name, suite.runs, ", ".join(suite.profiles), suite.about) for suite in suites]
    return Table("suites: bench run SUITE [--profile PROFILE]", head, tuple(rows))


def runs_table(runs: Sequence[KnownRun]) -> Table:
    rows = [
        row(run.suite, run.id, _finished(run),
            TableCell(run.state, tone="bad" if run.state == "interrupted" else ""),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.written)), str(_report(run) or ""))
        for run in runs
    ]  # fmt: skip
    head = (*texts("suite", "run"), *numbers("cells finished"), *texts("state", "written", "report"))
    stopped = any(run.state == "interrupted" for run in runs)
    told = "interrupted: what it finished is kept, and the same bench run goes on" if stopped else None
    return Table(
        "runs: bench ls cells SUITE", head, tuple(rows), told if runs else "none yet: bench run SUITE makes one"
    )


def _finished(run: KnownRun) -> str:
    """Of its cells; empty where it has not said yet which there are."""
    done = sum(cell.status == "finished" for cell in run.cells)
    return f"{done} of {len(run.cells)}" if run.cells else ""


def _report(run: KnownRun) -> Path | None:
    file = run.folder / "report.html"
    return file if file.is_file() else None


def saved_cells_table(runs: Sequence[KnownRun]) -> Table:
    shown = registry.measured_always()
    rows = [
        row(run.suite, run.id, cell.id, TableCell(cell.status, tone="" if cell.status == "finished" else "bad"),
            *(_figure(cell, name) for name in shown), section=place == 0)
        for run in runs for place, cell in enumerate(run.cells)
    ]  # fmt: skip
    head = (*texts("suite", "run", "cell", "status"), *numbers(*map(registry.title, shown)))
    return Table("cells: bench export CELL --to FOLDER", head, tuple(rows), None if rows else "none yet")


def _figure(cell: CellResult, name: str) -> str:
    """A metric with its 95 % interval over probes; empty where the cell has none."""
    if name not in cell.metrics:
        return ""
    return value_and_interval(cell.metrics[name], cell.metrics.get(f"{name}_lo"), cell.metrics.get(f"{name}_hi"))
