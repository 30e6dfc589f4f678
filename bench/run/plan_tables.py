"""A plan as tables: its cells, and the stages that they share with what is left to pay. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set

from gatebench.bench.analysis.table import Table, TableRow, numbers, row, texts
from gatebench.bench.console import UNKNOWN_TIME, duration
from gatebench.bench.cost.estimate import Cost, SuiteCost
from gatebench.bench.cost.schedule import StageSchedule
from gatebench.bench.plan.graph import Plan

MOST_CELLS = 100  # listed on the terminal; --json has all


def plan_tables(plan: Plan, finished: Set[str], found: SuiteCost) -> list[Table]:
    """The cells with what is finished of each, how many stages they share, and what is left to pay."""
    kinds = list(dict.fromkeys(node.kind for node in plan.nodes.values()))
    return [_cells(plan, kinds, finished, found), _stages(plan, kinds, finished, found)]


def schedule_tables(plan: Plan, found: StageSchedule) -> list[Table]:
    """How long all takes with so many workers, in this order and in others, and the longest chain of stages."""
    walls = {"as a run starts them": found.wall, "in the suite's order": found.suite_order,
             "no order is faster than": found.bound}  # fmt: skip
    rows = tuple(row(name, duration(wall), f"{found.utilisation(wall):.0%}") for name, wall in walls.items())
    caption = None
    if found.workers > found.employable:
        caption = (
            f"the critical path takes {duration(found.chain)} and all stages together {duration(found.work)}: "
            f"no more than {found.employable} workers can be kept busy"
        )
    head = (*texts("stages"), *numbers("until the end", "workers busy"))
    return [Table(f"{found.workers} workers, simulated", head, rows, caption), _critical_path(plan, found)]


def _critical_path(plan: Plan, found: StageSchedule) -> Table:
    last = {step.key for step in found.critical[-1:]}
    cell = next((f": {cell.id}" for cell in plan.cells if last & set(cell.stages.values())), "")
    rows = tuple(
        row(plan.nodes[step.key].kind, step.key, duration(step.start), duration(step.seconds))
        for step in found.critical
    )
    return Table(f"critical path{cell}", (*texts("stage", "key"), *numbers("starts after", "takes")), rows)


def _cells(plan: Plan, kinds: list[str], finished: Set[str], found: SuiteCost) -> Table:
    def mark(key: str | None) -> str:
        return "-" if key is None else "finished" if key in finished else "would run"

    rows = tuple(
        row(cell.id, *(mark(cell.stages.get(kind)) for kind in kinds), duration(found.cells[cell.id].seconds))
        for cell in plan.cells[:MOST_CELLS]
    )
    left = len(plan.cells) - MOST_CELLS
    more = [f"and {left} more cells; --json lists all"] if left > 0 else []
    caption = "; ".join([*more, *_legend(rows)]) or None
    head = (*texts("cell", *kinds), *numbers("whole cell"))
    return Table(f"{plan.suite}: {len(plan.cells)} cells", head, rows, caption)


def _stages(plan: Plan, kinds: list[str], finished: Set[str], found: SuiteCost) -> Table:
    rows = []
    for kind in kinds:
        keys = [key for key, node in plan.nodes.items() if node.kind == kind]
        done = sum(key in finished for key in keys)
        counts = (len(keys), done, len(keys) - done)
        rows.append(row(kind, *map(str, counts), *_amounts(found.by_kind.get(kind))))
    whole = (len(plan.nodes), len(finished), len(plan.nodes) - len(finished))
    rows.append(row("in all", *map(str, whole), *_amounts(found.in_all), section=True))
    head = numbers("in all", "finished", "would run", "tokens", "FLOPs", "memory", "disk", "one worker")
    return Table(
        "stages, shared between cells", (*texts("stage"), *head), tuple(rows), "; ".join(_legend(rows)) or None
    )


LEGEND = {
    "≈": "≈: at most so much, by the longest rows that there can be; nothing like it was measured on this machine",
    UNKNOWN_TIME: f"{UNKNOWN_TIME}: nothing like it was timed on this machine; bench plan SUITE --calibrate times it",
}


def _legend(rows: Sequence[TableRow]) -> list[str]:
    """What the marks say that stand in some cell."""
    shown = [cell.text for row in rows for cell in row.cells[1:]]
    return [meaning for mark, meaning in LEGEND.items() if any(mark in text for text in shown)]


def _amounts(cost: Cost | None) -> list[str]:
    if cost is None or (cost.seconds == 0 and not cost.tokens and not cost.disk):
        return [""] * 5
    most = "" if cost.measured else "≈ "
    sizes = [f"{value / 1e9:.2f} GB" if value else "" for value in (cost.memory, cost.disk)]
    work = [f"{most}{cost.tokens:.2g}", f"{most}{cost.flops:.1e}"] if cost.tokens else ["", ""]
    return [*work, *sizes, duration(cost.seconds)]
