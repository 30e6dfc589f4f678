"""`bench store ls`: what a store holds."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, AsJson
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json


def store_ls_command(
    place: Annotated[
        str, typer.Argument(help="A folder of results, or where they were pushed.", metavar="PLACE")
    ] = str(DEFAULT_RESULTS),
    as_json: AsJson = False,
) -> None:
    """Count the finished stages of a store, what they weigh, and the runs beside them."""
    from dataclasses import asdict
    from pathlib import Path

    from gatebench.bench.analysis.table import Table, numbers, row, texts
    from gatebench.bench.store.travel import held_at, held_here, is_carried

    kinds, runs = held_at(place) if is_carried(place) else held_here(Path(place))
    if as_json:
        print_json({"stages": [asdict(kind) for kind in kinds], "runs": runs})
        return
    rows = [
        row(kind.kind, str(kind.stages), f"{kind.results / 1e6:.1f}", f"{kind.models / 1e6:.1f}", str(kind.left or ""))
        for kind in kinds
    ]
    head = (*texts("stage"), *numbers("finished", "results, MB", "models, MB", "without models"))
    told = "runs: " + ", ".join(sorted(runs)) if runs else "no run"
    print_tables([Table(place, head, tuple(rows), told)])
