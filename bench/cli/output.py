"""What commands print: results on stdout, sentences on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from gatebench.bench.analysis.summary import Summary
    from gatebench.bench.cost.estimate import SuiteCost
    from gatebench.bench.run.suite_run import Prepared


def estimate_of(prepared: Prepared) -> tuple[SuiteCost, list[str]]:
    """What the rest of the suite would take here, and sentences where it does not fit."""
    import shutil

    from gatebench.bench.cost import estimate
    from gatebench.bench.cost.calibration import records
    from gatebench.bench.machine import this_machine

    finished = prepared.store.finished_among(prepared.plan.addresses)
    machine = this_machine(prepared.plan.at_once)
    found = estimate.estimate_cost(prepared.plan, finished, records(prepared.store, machine), machine)
    place = next(place for place in (prepared.results.resolve(), *prepared.results.resolve().parents) if place.exists())
    return found, estimate.cost_cautions(found, machine, shutil.disk_usage(place).free)


def show_plan(prepared: Prepared, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console

    from gatebench.bench.analysis.tables import duration, plan_tables
    from gatebench.bench.executors.progress import PLAIN
    from gatebench.bench.machine import this_machine

    made = prepared.plan
    finished = prepared.store.finished_among(made.addresses)
    found, sentences = estimate_of(prepared)
    if as_json:
        print_json({
            "suite": made.suite,
            "cells": [
                {"id": cell.id, **cell.axes(), "stages": dict(cell.stages), "estimate": asdict(found.cells[cell.id])}
                for cell in made.cells
            ],
            "stages": {key: {"kind": n.kind, "finished": key in finished} for key, n in made.nodes.items()},
            "estimate": {**asdict(found.in_all), "wall": found.wall},
            "cautions": sentences,
        })  # fmt: skip
        return
    results_console().print(*plan_tables(made, finished, found))
    err = Console(stderr=True)
    if found.wall is None:
        err.print("hours unknown: nothing like these stages was timed on this machine; add --calibrate", **PLAIN)
    elif found.in_all.seconds:
        machine = this_machine(made.at_once)
        print(f"about {duration(found.wall)} with {machine.workers} workers ({machine.name})")
    for sentence in [*sentences, *prepared.sources.unpinned()]:
        err.print(sentence, style="yellow", **PLAIN)


def print_results(summary: Summary, as_json: bool, folder: Path) -> None:
    from gatebench.bench.analysis.tables import claims_table, results_table, scale_table

    if as_json:
        print((folder / "summary.json").read_text())
        return
    console = results_console()
    console.print(results_table(summary))
    if summary.scale:
        console.print(scale_table(summary))
    if summary.claims:
        console.print(claims_table(summary))


def results_console(stderr: bool = False) -> Console:
    """stdout, or stderr where that is taken; a pipe has no width, and a table must not be cut to 80 columns there."""
    from rich.console import Console

    return Console(stderr=stderr, width=None if (sys.stderr if stderr else sys.stdout).isatty() else 160)


def print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))


def command_given() -> str:
    """The command line that was given, to be given again."""
    import shlex

    return shlex.join(["bench", *sys.argv[1:]])
