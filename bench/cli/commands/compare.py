"""`bench compare`: differences of two runs, paired where their probes are the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, AsJson, Results
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json
from gatebench.bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatebench.bench.analysis.comparison import Agreement, Difference
    from gatebench.bench.analysis.saved_runs import SavedRun
    from gatebench.bench.analysis.table import Table


def compare_command(
    first: Annotated[str, typer.Argument(help="A run: its folder, or a suite that has one run.", metavar="RUN_A")],
    second: Annotated[str, typer.Argument(help="Another run, or a CSV of published results.", metavar="RUN_B")],
    results: Results = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """Put two runs, or a run and published results, side by side."""
    from dataclasses import asdict

    from gatebench.bench.analysis.saved_runs import read_run

    found: Sequence[Agreement | Difference]
    ours = read_run(first, results)
    if second.endswith(".csv"):
        found, shown = _beside_published(ours, Path(second))
    else:
        theirs = read_run(second, results)
        other = [name for name in ours.probes if name in theirs.probes and ours.probes[name] != theirs.probes[name]]
        if other:
            raise UserError(
                f"{first} and {second}: data set {other[0]} has other probes; only equal ones can be paired"
            )
        found, shown = _beside_run(ours, theirs)
    if not found:
        raise UserError(f"{first} and {second} have no (model, data set, objective, gate) in common")
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        print_tables(shown)


def _beside_published(ours: SavedRun, file: Path) -> tuple[list[Agreement], list[Table]]:
    """Where a run agrees with a paper's figures, and the tables that show it."""
    from gatebench.bench.analysis.comparison import agreement
    from gatebench.bench.analysis.comparison_tables import agreement_table, published_table
    from gatebench.bench.analysis.saved_runs import read_published
    from gatebench.bench.metrics import registry

    if not file.exists():
        raise UserError(f"{file}: no such file; expected a CSV of published results")
    published, groups = read_published(file), ours.summary.groups
    found = agreement(groups, published)
    shown = [published_table(groups, published, metric) for metric in registry.published()]
    return found, [*shown, agreement_table(found)]


def _beside_run(ours: SavedRun, theirs: SavedRun) -> tuple[list[Difference], list[Table]]:
    from gatebench.bench.analysis.comparison import differences
    from gatebench.bench.analysis.comparison_tables import differences_table

    found = differences(ours.cells(), theirs.cells())
    return found, [differences_table(found)]
