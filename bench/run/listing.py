"""What there is to run and to look at: suites, their runs, the runs' cells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.analysis.summary import CellResult, read_summary
from gatebench.bench.analysis.table import Column, Table, TableCell, numbers, row, texts, value_and_interval
from gatebench.bench.errors import UserError
from gatebench.bench.metrics import registry
from gatebench.bench.shipped import SUITE_ENDINGS, shipped_suites
from gatebench.bench.store.runs import bring_runs
from gatebench.bench.suite.reader import profiles_of, text_of_suite
from gatebench.objectives.names import nearest

HERE = (".", "suites")  # where a user's own suites are looked for


@dataclass(frozen=True)
class KnownSuite:
    """about: the first sentence of the comment that its file begins with."""

    name: str
    file: Path
    profiles: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class KnownRun:
    """finished: the time at which its summary was written, in seconds since 1970."""

    suite: str
    folder: Path
    cells: tuple[CellResult, ...]
    finished: float

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
        profiles, text = tuple(profiles_of(file)), text_of_suite(file)
    except UserError:
        return None
    if not {"models:", "gates:"} <= {line.split(" ")[0] for line in text.splitlines()}:
        return None
    head = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    about = " ".join(head)
    ends = [place for end in (". ", "? ") if (place := about.find(end)) > 0]
    return KnownSuite(name, file, profiles, about[: min(ends) + 1] if ends else about)


def known_runs(results: Path, suite: str | None = None) -> list[KnownRun]:
    """The runs below a folder of results, the newest first. Raises UserError for a suite that has none."""
    bring_runs(results)
    root = results / "runs"
    names = sorted(place.name for place in root.glob("*") if place.is_dir())
    if suite is not None and suite not in names:
        raise UserError(f"{suite}: no run of it in {root}" + (f"; {nearest(suite, names)}" if names else ""))
    files = [file for name in ([suite] if suite else names) for file in (root / name).glob("*/summary.json")]
    found = []
    for file in files:
        try:
            cells = read_summary(file.parent).cells
        except (OSError, ValueError, KeyError, TypeError):  # half of one, or of another version
            cells = ()
        found.append(KnownRun(file.parts[-3], file.parent, cells, file.stat().st_mtime))
    return sorted(found, key=lambda run: -run.finished)


def suites_table(suites: Sequence[KnownSuite]) -> Table:
    head = (*texts("suite"), Column("profiles", wraps=True), Column("about", wraps=True))
    rows = [row(suite.name, ", ".join(suite.profiles), suite.about) for suite in suites]
    return Table("suites: bench run SUITE [--profile PROFILE]", head, tuple(rows))


def runs_table(runs: Sequence[KnownRun]) -> Table:
    rows = [
        row(run.suite, run.id, f"{sum(cell.status == 'finished' for cell in run.cells)} of {len(run.cells)}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.finished)), str(run.folder / "report.html"))
        for run in runs
    ]  # fmt: skip
    head = (*texts("suite", "run"), *numbers("cells finished"), *texts("written", "report"))
    return Table("runs", head, tuple(rows), None if runs else "none yet: bench run SUITE makes one")


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
