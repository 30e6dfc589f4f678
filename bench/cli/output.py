"""What commands print: results on stdout, sentences on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.console import PLAIN, duration, harmless, print_json, results_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from rich.table import Table as RichTable

    from gatebench.bench.analysis.summary import Summary
    from gatebench.bench.analysis.table import Table, TableCell
    from gatebench.bench.cost.estimate import SuiteCost
    from gatebench.bench.cost.hardware import Hardware
    from gatebench.bench.machine import Machine
    from gatebench.bench.run.suite_run import Prepared

TONES = {"": "", "good": "", "bad": "red"}  # of a cell, as rich's styles


def machine_for(prepared: Prepared, hardware: Hardware | None, workers: int | None) -> Machine:
    """What stages run on: hardware that is not here, or this machine, with as many workers as are given."""
    from dataclasses import replace

    from gatebench.bench.cost.workers import machine_of

    machine = hardware.machine if hardware else machine_of(prepared.plan)
    return replace(machine, workers=workers or machine.workers)


def estimate_of(
    prepared: Prepared, hardware: Hardware | None = None, workers: int | None = None
) -> tuple[SuiteCost, list[str]]:
    """What the rest of the suite would take here, or on other hardware, and sentences where it does not fit."""
    import shutil

    from gatebench.bench.cost import estimate
    from gatebench.bench.cost.calibration import records, unreadable
    from gatebench.bench.cost.hardware import too_large
    from gatebench.bench.cost.workers import machine_of

    plan, store = prepared.plan, prepared.store
    finished = store.finished_among(plan.addresses)
    here, machine = machine_of(plan), machine_for(prepared, hardware, workers)
    found = estimate.estimate_cost(plan, finished, records(store, here), machine, hardware)
    told = [*unreadable(store, here), *estimate.size_cautions(plan)]
    if hardware:
        return found, [*told, *too_large(plan, finished, hardware)]
    place = next(place for place in (prepared.results.resolve(), *prepared.results.resolve().parents) if place.exists())
    return found, [*told, *estimate.cost_cautions(found, machine, shutil.disk_usage(place).free)]


def show_plan(
    prepared: Prepared,
    as_json: bool,
    hardware: Hardware | None = None,
    price: float | None = None,
    workers: int | None = None,
) -> None:
    """price: of one device for an hour; workers: as given, for which the schedule is shown."""
    from rich.console import Console

    from gatebench.bench.plan.readable import check_rows, copy_cautions, is_here, transcript_cautions
    from gatebench.bench.plan.runnable import check_recipes, not_runnable_here
    from gatebench.bench.plan.task_files import code_cautions
    from gatebench.bench.run.plan_tables import plan_tables, schedule_tables

    made = prepared.plan
    check_recipes(made, prepared.sources)
    check_rows(made, prepared.sources, is_here)
    finished = prepared.store.finished_among(made.addresses)
    found, sentences = estimate_of(prepared, hardware, workers)
    sentences = [*sentences, *transcript_cautions(prepared.sources), *code_cautions(prepared.sources)]
    sentences += copy_cautions(prepared.sources)
    machine = machine_for(prepared, hardware, workers)
    paid = None if price is None or found.wall is None else price * found.wall / 3600 * max(1, machine.gpus)
    sentences += [f"cannot run on this machine: {why}" for why in not_runnable_here(made)]
    if as_json:
        print_json(_plan_as_json(prepared, finished, found, machine, paid) | {"cautions": sentences})
        return
    print_tables(plan_tables(made, finished, found))
    if workers and found.schedule and found.in_all.seconds:
        print_tables(schedule_tables(made, found.schedule))
    err = Console(stderr=True)
    for line in _hours(found, machine, hardware, paid):
        print(line)
    if found.wall is None and not hardware:
        err.print("hours unknown: nothing like these stages was timed on this machine; add --calibrate", **PLAIN)
    for sentence in [*sentences, *prepared.sources.unpinned()]:
        err.print(sentence, style="yellow", **PLAIN)


def _plan_as_json(
    prepared: Prepared, finished: AbstractSet[str], found: SuiteCost, machine: Machine, paid: float | None
) -> dict[str, object]:
    from dataclasses import asdict

    made, schedule = prepared.plan, found.schedule
    simulated = schedule and asdict(schedule) | {"utilisation": schedule.utilisation(schedule.wall)}
    return {
        "suite": made.suite,
        "cells": [
            {"id": cell.id, **cell.axes(), "stages": dict(cell.stages), "estimate": asdict(found.cells[cell.id])}
            for cell in made.cells
        ],
        "stages": {key: {"kind": n.kind, "finished": key in finished} for key, n in made.nodes.items()},
        "estimate": asdict(found.in_all) | {"wall": found.wall, "price": paid, "machine": asdict(machine)},
        "schedule": simulated,
    }  # fmt: skip


def _hours(found: SuiteCost, machine: Machine, hardware: Hardware | None, paid: float | None) -> Iterator[str]:
    from gatebench.bench.cost.hardware import UTILISATION

    if found.wall is None or not found.in_all.seconds:
        return
    how = f"{machine.workers} workers ({machine.name})"
    if hardware:
        how = f"{machine.name}, one stage a device at {UTILISATION:.0%} of its peak"
    price = "" if paid is None else f", {paid:,.2f} at the price given"
    yield f"about {duration(found.wall)} with {how}{price}"


def print_results(summary: Summary, as_json: bool, folder: Path) -> None:
    from gatebench.bench.analysis.answer import answer
    from gatebench.bench.analysis.tables import claims_table, kinds_table, results_table, scale_table, tasks_table

    if as_json:
        print((folder / "summary.json").read_text())
        return
    tables = [results_table(summary)]
    tables += [kinds_table(summary)] if summary.kinds else []
    tables += [tasks_table(summary)] if summary.tasks else []
    tables += [scale_table(summary)] if summary.scale else []
    print_tables([*tables, *([claims_table(summary)] if summary.claims else [])])
    print(harmless(answer(summary)))


def print_tables(tables: Iterable[Table], stderr: bool = False) -> None:
    """Tables on stdout, or on stderr where that is taken."""
    for table in tables:
        console = results_console(stderr)
        if not console.is_terminal:  # a reader there sees what is cut; in a pipe it would be lost
            console.width = max(console.width, width_of(table))
        console.print(for_terminal(table))


def width_of(table: Table) -> int:
    """Columns of the terminal that a table needs to have no text cut; what wraps needs its longest word."""
    from rich.cells import cell_len

    found = 1
    for place, column in enumerate(table.head):
        cells = [column.name, *(row.cells[place].text for row in table.rows if place < len(row.cells))]
        words = [word for cell in cells for word in cell.split()] if column.wraps else cells
        found += 3 + max(map(cell_len, words), default=0)
    return found


def for_terminal(table: Table) -> RichTable:
    """A table as rich draws it; no text of it is read as markup."""
    from rich.table import Table as RichTable
    from rich.text import Text

    def plain(text: str, style: str = "") -> Text:
        return Text(harmless(text), style=style)

    def cell_text(cell: TableCell) -> Text:
        found = plain(cell.text, "bold" if cell.bold else TONES[cell.tone])
        for start, end in cell.marked:
            found.stylize("underline", start, end)
        return found

    caption = None if table.caption is None else plain(table.caption, "table.caption")
    drawn = RichTable(title=plain(table.title, "table.title"), caption=caption, show_lines=table.ruled)
    for column in table.head:
        drawn.add_column(
            plain(column.name), justify="right" if column.right else "left", no_wrap=not column.wraps,
            overflow="fold" if column.wraps else "ellipsis",
        )  # fmt: skip
    for row in table.rows:
        if row.section:
            drawn.add_section()
        drawn.add_row(*(cell_text(cell) for cell in row.cells))
    return drawn


def command_given() -> str:
    """The command line that was given, to be given again."""
    import shlex

    return shlex.join(["bench", *sys.argv[1:]])
