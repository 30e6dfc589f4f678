"""`bench report`: the page of a suite again, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, DataFolder, Only, Profile, Results, Settings, SuiteFile
from gatebench.bench.errors import UserError
from gatebench.bench.run.prepare import prepare


def report_command(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    data: DataFolder = None,
    judged: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", file_okay=False, help="Write judged answers as AlpacaEval's and Arena-Hard's files."
        ),
    ] = None,
) -> None:
    """Rebuild the report and summary of a suite from the store, whatever of it is finished."""
    from gatebench.bench.judged.comparisons import finished_comparisons
    from gatebench.bench.judged.exports import write_judged
    from gatebench.bench.run import suite_run

    prepared = prepare(suite, profile, results, settings, only, data)
    with prepared.store.in_use():
        found = list(finished_comparisons(prepared.plan, prepared.store)) if judged else []
        if judged and not found:
            raise UserError(f"{prepared.plan.suite}: no cell has verdicts; give the suite evaluate.judge and run it")
        print(suite_run.build(prepared)[1])
        for place in write_judged(found, prepared.plan.suite, judged) if judged else ():
            print(place)
