"""Two runs, or a run and published results, as tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.comparison import Agreement, Difference, Published, published_gate
from gatebench.bench.analysis.table import Table, numbers, row, texts, value_and_interval
from gatebench.bench.analysis.tables import POINT_COLUMNS, with_interval
from gatebench.bench.metrics.registry import title


def differences_table(rows: Sequence[Difference]) -> Table:
    """Two runs at the points that both have."""
    shown = tuple(
        row(found.model, found.dataset, found.objective, found.gate, title(found.metric), f"{found.ours:.2f}",
            f"{found.theirs:.2f}", value_and_interval(found.value, found.lo, found.hi), f"{found.p_holm:.2g}",
            str(found.seeds))
        for found in rows
    )  # fmt: skip
    head = (*POINT_COLUMNS, *texts("metric"), *numbers("first", "second", "difference", "p (Holm)", "seeds"))
    return Table("second run minus first, nats a response", head, shown)


def published_table(groups: Sequence[Group], published: Sequence[Published], metric: str) -> Table:
    """A metric of our models beside theirs, a row a method; ours with half the width of the interval."""
    ours, theirs = list(dict.fromkeys(g.model for g in groups)), list(dict.fromkeys(p.model for p in published))
    left = {(g.model, g.objective, published_gate(g)): with_interval(g.metrics, metric) for g in groups}
    right = {(p.model, p.objective, p.gate): p.metrics.get(metric) for p in published}
    rows = []
    for method in dict.fromkeys((objective, gate) for _, objective, gate in (*left, *right)):
        figures = [right.get((name, *method)) for name in theirs]
        rows.append(row(
            *method, *(left.get((name, *method), "") for name in ours),
            *("" if figure is None else f"{figure:.2f}" for figure in figures),
        ))  # fmt: skip
    head = (*texts("objective", "gate"), *numbers(*ours, *(f"published {name}" for name in theirs)))
    return Table(f"{title(metric)}: ours with 95 % intervals, then the published figures", head, tuple(rows))


def agreement_table(rows: Sequence[Agreement]) -> Table:
    """Where the signs and the order of the methods agree."""
    shown = tuple(
        row(title(found.metric), found.ours, found.theirs, f"{found.signs} of {found.methods}",
            f"{found.effects} of {found.gated}", "" if found.rank is None else f"{found.rank:.2f}")
        for found in rows
    )  # fmt: skip
    head = (*texts("metric", "ours", "published"),
            *numbers("same sign", "gate moves it the same way", "rank correlation"))  # fmt: skip
    return Table("agreement over the methods of both (a method is an objective with a gate)", head, shown)
