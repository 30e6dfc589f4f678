"""Results as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan import Plan
from bench.summary import HEADLINE, Summary

if TYPE_CHECKING:
    from collections.abc import Set

    from rich.table import Table

    from bench.estimate import Cost, Estimate

TITLES = {
    "delta_chosen": "Δ chosen", "delta_rejected": "Δ rejected", "margin": "margin",
    "delta_others": "Δ others", "accuracy": "accuracy",
}  # fmt: skip
HIGHER_IS_BETTER = ("delta_chosen", "margin", "delta_others", "accuracy")
MOST_CELLS = 100  # listed on the terminal; --json has all


def plan_tables(plan: Plan, finished: Set[str], found: Estimate) -> list[Table]:
    """The cells with what is finished of each, how many stages they share, and what is left to pay."""
    from rich.table import Table

    kinds = list(dict.fromkeys(node.kind for node in plan.nodes.values()))
    left = len(plan.cells) - MOST_CELLS
    cells = Table(
        title=f"{plan.suite}: {len(plan.cells)} cells",
        caption=f"and {left} more cells; --json lists all" if left > 0 else None,
    )
    for name in ("cell", *kinds):
        cells.add_column(name, no_wrap=True)
    cells.add_column("whole cell", justify="right", no_wrap=True)
    for cell in plan.cells[:MOST_CELLS]:
        marks = [
            "-" if k not in cell.stages else "finished" if cell.stages[k] in finished else "would run" for k in kinds
        ]
        cells.add_row(cell.id, *marks, duration(found.cells[cell.id].seconds))
    stages = Table(title="stages, shared between cells")
    for name in ("stage", "in all", "finished", "would run", "tokens", "FLOPs", "memory", "disk", "one worker"):
        stages.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for kind in kinds:
        keys = [key for key, node in plan.nodes.items() if node.kind == kind]
        done = sum(key in finished for key in keys)
        stages.add_row(kind, str(len(keys)), str(done), str(len(keys) - done), *_amounts(found.by_kind.get(kind)))
    stages.add_section()
    stages.add_row("in all", str(len(plan.nodes)), str(len(finished)), str(len(plan.nodes) - len(finished)),
                   *_amounts(found.in_all))  # fmt: skip
    return [cells, stages]


def _amounts(cost: Cost | None) -> list[str]:
    if cost is None or (cost.seconds == 0 and not cost.tokens):
        return [""] * 5
    most = "" if cost.measured else "≤ "
    sizes = [f"{value / 1e9:.2f} GB" if value else "" for value in (cost.memory, cost.disk)]
    return [f"{most}{cost.tokens:.2g}", f"{most}{cost.flops:.1e}", *sizes, duration(cost.seconds)]


def duration(seconds: float | None) -> str:
    """Seconds as a reader would say them; "?" where nothing like it was timed."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def results_table(summary: Summary) -> Table:
    """A row a cell; in each (model, data set) the best value of a column is bold."""
    from rich.table import Table

    table = Table(title=f"{summary.suite}: change of log-probs on training probes, nats a response")
    for name in ("model", "data", "objective", "gate", "seed"):
        table.add_column(name, no_wrap=True)
    for name in HEADLINE:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    best: dict[tuple[str, str, str], float] = {}
    for cell in summary.finished:
        for name in HIGHER_IS_BETTER:
            value = cell.metrics.get(name)
            place = (cell.model, cell.dataset, name)
            if value is not None:
                best[place] = max(best.get(place, value), value)
    group = None
    for cell in summary.cells:
        if group not in (None, (cell.model, cell.dataset)):
            table.add_section()
        group = (cell.model, cell.dataset)
        values = []
        for name in HEADLINE:
            value = cell.metrics.get(name)
            text = "" if value is None else f"{value:.2f}"
            is_best = value is not None and best.get((cell.model, cell.dataset, name)) == value
            values.append(f"[bold]{text}[/bold]" if is_best else text)
        if cell.status != "finished":
            values[0] = f"[red]{cell.status}[/red]"
        table.add_row(cell.model, cell.dataset, cell.objective, cell.gate, str(cell.seed), *values)
    return table
