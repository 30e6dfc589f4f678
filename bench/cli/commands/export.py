"""`bench export`: a finished cell as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, Results


def export_command(
    cell: Annotated[str, typer.Argument(help="The cell's id, as bench ls cells lists it.", metavar="CELL")],
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    run: Annotated[str | None, typer.Option(help="The run's name, where several have a cell of that id.")] = None,
    push: Annotated[
        str | None, typer.Option(metavar="NAME", help="Upload it to this name on the hub, private where it is new.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Write a cell's weights (adapters merged), tokenizer and template with a model card of its figures and recipe."""
    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.export import folder
    from gatebench.bench.export.cell import finished_cell
    from gatebench.bench.store.store import Store

    err = Console(stderr=True)
    with Store(results / "store").in_use():
        found = finished_cell(cell, results, run)
        err.print(f"writing {to} from run {found.run.id} of {found.run.suite}", **PLAIN)
        folder.write_folder(found, to, push or str(to))
    print(to)
    if push:
        err.print(f"uploading to {push}", **PLAIN)
        print(folder.push(to, push))
