"""`bench ls`: which suites, runs and cells there are."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, AsJson, Results
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json


def ls_command(
    what: Annotated[
        Literal["suites", "runs", "cells"] | None, typer.Argument(help="suites, runs or cells; else suites and runs.")
    ] = None,
    suite: Annotated[
        str | None, typer.Argument(help="Only the runs and cells of this suite: its file, or its name.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """List the suites that are here, their runs, and the runs' cells."""
    from gatebench.bench.run.listing import known_runs, known_suites, runs_table, saved_cells_table, suites_table

    suites = known_suites() if what in (None, "suites") else []
    runs = known_runs(results, suite) if what != "suites" else []
    if as_json:
        found: dict[str, list[dict[str, object]]] = {
            "suites": [{"name": s.name, "runs": s.runs, "file": str(s.file), "profiles": s.profiles,
                        "about": s.about} for s in suites],
            "runs": [{"suite": run.suite, "run": run.id, "state": run.state,
                      "folder": str(run.folder)} for run in runs],
            "cells": [{"suite": run.suite, "run": run.id, "cell": cell.id, "status": cell.status,
                       "metrics": dict(cell.metrics)} for run in runs for cell in run.cells],
        }  # fmt: skip
        print_json({name: rows for name, rows in found.items() if what in (None, name)})
        return
    print_tables(
        [*([suites_table(suites)] if suites else []), *([runs_table(runs)] if what in (None, "runs") else []),
         *([saved_cells_table(runs)] if what == "cells" else [])]
    )  # fmt: skip
