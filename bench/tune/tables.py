"""A study at its end as a table. Pure."""

from __future__ import annotations

from gatebench.bench.analysis.table import Table, TableCell, numbers, row
from gatebench.bench.metrics.registry import title
from gatebench.bench.tune.records import Searched


def study_table(study: Searched) -> Table:
    """The trials that no other one beats, on tuning probes; the recommended one is bold."""
    now, names, metrics = study.counts, list(study.best.parameters), list(study.best.metrics)
    rows = []
    for number, parameters, values in sorted(study.front, key=lambda found: -found[2][study.maximize[0]]):
        shown = [
            str(number),
            *(f"{parameters.get(name, '')}" for name in names),
            *(f"{values[m]:.2f}" for m in metrics),
        ]
        rows.append(row(*(TableCell(text, bold=number == study.best.number) for text in shown)))
    caption = None if study.best.feasible else "no trial keeps subject_to; the recommended one is of all"
    head = f"{study.name}: {now.done} trials, {now.pruned} pruned; the front, on tuning probes"
    return Table(head, numbers("trial", *map(title, (*names, *metrics))), tuple(rows), caption)
