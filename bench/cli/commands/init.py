"""`bench init`: a suite for a user's own pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.errors import UserError


def init_command(
    suite: Annotated[Path, typer.Argument(help="The suite file to write.", metavar="MINE.yaml")],
    data: Annotated[Path, typer.Option(help="Your preference pairs: a .jsonl, .json, .csv or .parquet file.")],
) -> None:
    """Look at a file of preference pairs and write a commented suite for it that plans and runs as it is."""
    import os

    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.data.recognition import recognise
    from gatebench.bench.plan.planner import make_plan
    from gatebench.bench.plan.resolve import resolve
    from gatebench.bench.shipped import SUITE_ENDINGS
    from gatebench.bench.store.files import write_text
    from gatebench.bench.suite.proposal import FEWEST_PAIRS, as_name, propose
    from gatebench.bench.suite.reader import load_suite

    if suite.suffix not in SUITE_ENDINGS:
        raise UserError(f"{suite}: a suite is a YAML file; name it {suite}.yaml")
    if suite.exists():
        raise UserError(f"{suite}: there is a file already; name another")
    if not suite.parent.is_dir():
        raise UserError(f"{suite}: the folder {suite.parent} does not exist; make it first")
    err = Console(stderr=True)
    err.print(f"looking at {data}", **PLAIN)
    seen = recognise(data)
    if seen.usable < FEWEST_PAIRS:
        raise UserError(
            f"{data}: {seen.usable} pairs; at least {FEWEST_PAIRS} are needed to train on some and hold out others"
        )
    text = propose(as_name(suite.stem), os.path.relpath(data.resolve(), suite.parent.resolve()), seen)
    loaded = load_suite(suite, text=text)
    plan = make_plan(loaded, resolve(loaded, suite))
    write_text(suite, text)
    columns = (
        ", ".join(f"{ours} from {theirs!r}" for ours, theirs in seen.columns.items()) or "prompt, chosen, rejected"
    )
    err.print(f"{seen.usable} pairs ({columns})", **PLAIN)
    if seen.bad:
        err.print(f"{seen.bad} rows cannot be used; the first: {seen.reason}", style="yellow", **PLAIN)
    err.print(f"{len(plan.cells)} cells; next: bench plan {suite}, then bench run {suite}", **PLAIN)
    print(suite)
