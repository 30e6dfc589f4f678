"""`bench gc`: make room in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, DataFolder, Results
from gatebench.bench.run.prepare import prepare
from gatebench.bench.shipped import suite_file


def gc_command(
    suites: Annotated[
        list[Path], typer.Argument(help="The suites to keep, with all their profiles.", parser=suite_file)
    ],
    results: Results = DEFAULT_RESULTS,
    data: DataFolder = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only show.")] = False,
) -> None:
    """Remove from the store what no named suite needs; shows what that is unless told to delete."""
    from contextlib import nullcontext

    from gatebench.bench.plan.unneeded import unneeded
    from gatebench.bench.store.files import remove, size_of
    from gatebench.bench.store.store import Store
    from gatebench.bench.suite.reader import profiles_of

    store = Store(results / "store")
    plans = [prepare(s, name, results, None, None, data).plan for s in suites for name in (None, *profiles_of(s))]
    with store.alone() if delete else nullcontext():
        found = unneeded(plans, store)
        for kind, places in found.items():
            print(f"{kind}: {len(places)}, {sum(map(size_of, places)) / 1e6:.1f} MB")
            if delete:
                remove(places)
    total = sum(map(len, found.values()))
    print(
        f"{total} {'deleted' if delete else 'to delete; nothing was: add --delete'}" if total else "nothing to delete"
    )
