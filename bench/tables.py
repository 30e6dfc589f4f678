"""Results as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.summary import HEADLINE, Summary

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {
    "delta_chosen": "Δ chosen", "delta_rejected": "Δ rejected", "margin": "margin",
    "delta_others": "Δ others", "accuracy": "accuracy",
}  # fmt: skip
HIGHER_IS_BETTER = ("delta_chosen", "margin", "delta_others", "accuracy")


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
