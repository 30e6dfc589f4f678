"""`bench perf`: how fast this machine is with gatebench and without."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import AsJson
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json


def perf_command(
    parts: Annotated[
        list[str] | None, typer.Argument(help="step, suite, harness, checks; engine and ray, which need vLLM and Ray.")
    ] = None,
    data: Annotated[str, typer.Option(help="Preference pairs to train on: a file, or builtin:toolbox.")] = (
        "builtin:toolbox"
    ),
    model: Annotated[list[str] | None, typer.Option(help="Built-in models, such as llama-1.3m.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: a step and a suite against stock TRL, and what the harness itself costs."""
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")  # stock TRL's bars would run through ours; read when tqdm is imported
    from rich.console import Console

    from gatebench.bench.perf.session import DEFAULT_PARTS, MODELS, measure_parts
    from gatebench.bench.perf.tables import perf_tables

    err = Console(stderr=True)
    figures = measure_parts(parts or DEFAULT_PARTS, model or MODELS, data, err)
    if as_json:
        print_json(figures.to_json())
    print_tables(perf_tables(figures), stderr=as_json)
