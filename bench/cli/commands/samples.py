"""`bench samples`: read what the cells answer."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, AsJson, DataFolder, Only, Profile, Results, Settings, SuiteFile
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json
from gatebench.bench.errors import UserError
from gatebench.bench.run.prepare import prepare


def samples_command(
    suite: SuiteFile,
    prompt: Annotated[int, typer.Argument(min=0, help="The number of a held-out prompt, from 0.", metavar="PROMPT_ID")],
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show the answers of all cells to one prompt, side by side."""
    from dataclasses import asdict

    from gatebench.bench.analysis.samples import answers_to, samples_table

    prepared = prepare(suite, profile, results, settings, only, data)
    plan = prepared.plan
    generated = [(cell, cell.stages["generate"]) for cell in plan.cells if "generate" in cell.stages]
    with prepared.store.in_use():
        found = answers_to(plan.suite, generated, prepared.store, prompt)
    if not as_json:
        print_tables(map(samples_table, found))
        return
    asked, *others = found
    if others:
        names = ", ".join(one.dataset for one in found)
        raise UserError(
            f"prompt {prompt} is another one in each of {names}; choose with --only dataset={asked.dataset}"
        )
    print_json({"prompt": asked.prompt, "answers": [asdict(sample) for sample in asked.answers]})
