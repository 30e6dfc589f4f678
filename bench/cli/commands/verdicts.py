"""`bench verdicts`: judged answers in the formats of AlpacaEval and Arena-Hard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, Only, Profile, Results, Settings, SuiteFile
from gatebench.bench.errors import UserError
from gatebench.bench.run.prepare import prepare


def verdicts_command(
    suite: SuiteFile,
    folder: Annotated[Path, typer.Argument(help="The folder to write into.", metavar="FOLDER", file_okay=False)],
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
) -> None:
    """Write judged answers as AlpacaEval's and Arena-Hard's own files, for their tools."""
    from gatebench.bench.judged.comparisons import finished_comparisons
    from gatebench.bench.judged.exports import write_judged

    prepared = prepare(suite, profile, results, settings, only)
    with prepared.store.in_use():
        found = list(finished_comparisons(prepared.plan, prepared.store))
        if not found:
            raise UserError(f"{prepared.plan.suite}: no cell has verdicts; give the suite evaluate.judge and run it")
        for place in write_judged(found, prepared.plan.suite, folder):
            print(place)
