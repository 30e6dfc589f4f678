"""Results as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan import Plan
from bench.summary import HEADLINE, Summary

if TYPE_CHECKING:
    from collections.abc import Set

    from rich.table import Table

TITLES = {
    "delta_chosen": "Δ chosen", "delta_rejected": "Δ rejected", "margin": "margin",
    "delta_others": "Δ others", "accuracy": "accuracy",
}  # fmt: skip
HIGHER_IS_BETTER = ("delta_chosen", "margin", "delta_others", "accuracy")
MOST_CELLS = 100  # listed on the terminal; --json has all


def plan_tables(plan: Plan, finished: Set[str]) -> list[Table]:
    """The cells with what is finished of each, and how many stages they share."""
    from rich.table import Table

    kinds = list(dict.fromkeys(node.kind for node in plan.nodes.values()))
    left = len(plan.cells) - MOST_CELLS
    cells = Table(
        title=f"{plan.suite}: {len(plan.cells)} cells",
        caption=f"and {left} more cells; --json lists all" if left > 0 else None,
    )
    for name in ("cell", *kinds):
        cells.add_column(name, no_wrap=True)
    for cell in plan.cells[:MOST_CELLS]:
        marks = [
            "-" if k not in cell.stages else "finished" if cell.stages[k] in finished else "would run" for k in kinds
        ]
        cells.add_row(cell.id, *marks)
    stages = Table(title="stages, shared between cells")
    for name in ("stage", "in all", "finished", "would run"):
        stages.add_column(name, justify="left" if name == "stage" else "right")
    for kind in kinds:
        keys = [key for key, node in plan.nodes.items() if node.kind == kind]
        done = sum(key in finished for key in keys)
        stages.add_row(kind, str(len(keys)), str(done), str(len(keys) - done))
    return [cells, stages]


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
