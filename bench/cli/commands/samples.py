"""`bench samples`: read what the cells answer."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, Json, Only, Profile, Results, Settings, SuiteFile
from gatebench.bench.cli.output import print_json, results_console
from gatebench.bench.run.prepare import prepare


def samples_command(
    suite: SuiteFile,
    prompt: Annotated[int, typer.Argument(min=0, help="The number of a held-out prompt, from 0.", metavar="PROMPT_ID")],
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    as_json: Json = False,
) -> None:
    """Show the answers of all cells to one prompt, side by side."""
    from dataclasses import asdict

    from gatebench.bench.analysis.samples import samples
    from gatebench.bench.analysis.tables import samples_table

    prepared = prepare(suite, profile, results, settings, only)
    text, found = samples(prepared.plan, prepared.store, prompt)
    if as_json:
        print_json({"prompt": text, "answers": [asdict(sample) for sample in found]})
    else:
        results_console().print(samples_table(text, found))
