"""`bench plan`: what a suite consists of; runs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import (
    DEFAULT_RESULTS,
    AsJson,
    DataFolder,
    Only,
    Profile,
    Results,
    Settings,
    SuiteFile,
    Workers,
)
from gatebench.bench.cli.output import show_plan
from gatebench.bench.run.prepare import prepare


def plan_command(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    data: DataFolder = None,
    why: Annotated[str | None, typer.Option(metavar="CELL", help="Why the stages of a cell will run.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Time a few steps here first, for the hours.")] = False,
    hardware: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Estimate for h100, 8xa100-80gb, rtx4090 ...")
    ] = None,
    workers: Workers = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of one device for an hour: prints the cost.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the cells and stages of a suite: what is finished, what would run and what it would take."""
    prepared = prepare(suite, profile, results, settings, only, data)
    if calibrate:
        from rich.console import Console

        from gatebench.bench.cost import calibration

        calibration.calibrate(prepared.plan, prepared.store, Console(stderr=True))
    if why is None:
        from gatebench.bench.cost.hardware import hardware_of

        show_plan(prepared, as_json, hardware_of(hardware, workers) if hardware else None, price, workers)
        return
    from gatebench.bench.plan.explain import explain, find_cell

    for line in explain(prepared.plan, find_cell(prepared.plan, why), prepared.store):
        print(line)
