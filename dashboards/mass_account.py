"""Mass accounting: at each checkpoint, where the probability that left the rejected response went.

Two accounts, both changes from step 0 that sum to 0. `flow_*`: next-token mass along the rejected response, meaned
over its positions. `answers_*`: the exact distribution over all answers of a prompt, where they are enumerable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatebench.bench.analysis.summary import CellResult
from gatebench.bench.analysis.table import Table, numbers, row
from gatebench.bench.analysis.tables import POINT_COLUMNS
from gatebench.bench.plan.graph import POINT_AXES, Point
from gatebench.dashboards.curves import Curves, bands
from gatebench.dashboards.figures import Figure, panels

# Okabe & Ito's palette; a part has one colour in both accounts.
PART_COLOURS = {
    "chosen": "#009E73", "chosen_paraphrases": "#8FD3BD", "rejected": "#D55E00", "rejected_paraphrases": "#F0B48A",
    "argmax": "#56B4E9", "unrelated": "#CC79A7", "other_answers": "#CC79A7", "rest": "#A9A9A9",
    "anything_else": "#A9A9A9",
}  # fmt: skip
ACCOUNTS = {"flow": "next-token mass along the rejected response", "answers": "probability of the whole answer"}


@dataclass(frozen=True)
class AccountRow:
    """The account of one point of the suite at one checkpoint. parts: share of probability gained, by part."""

    point: Point
    step: int
    parts: dict[str, float]

    @property
    def axes(self) -> dict[str, str]:
        return dict(zip(POINT_AXES, self.point, strict=True))


def account(cells: Sequence[CellResult], curves: Curves, prefix: str) -> list[AccountRow]:
    """The rows of an account (`flow` or `answers`), means over seeds; empty where the data have none."""
    found = {part: bands(cells, curves, f"{prefix}_{part}") for part in PART_COLOURS}
    places = dict.fromkeys(place for by_point in found.values() for place in by_point)
    rows = []
    for place in places:
        own = {part: by_point[place] for part, by_point in found.items() if place in by_point}
        for index, step in enumerate(next(iter(own.values())).steps):
            rows.append(AccountRow(place, step, {part: band.mean[index] for part, band in own.items()}))
    return rows


def account_table(rows: Sequence[AccountRow], title: str) -> Table:
    """A row a point and checkpoint, a column a part."""
    parts = [part for part in PART_COLOURS if part in rows[0].parts]
    made = tuple(
        row(*own.point, str(own.step), *(f"{own.parts[part]:.4f}" if part in own.parts else "" for part in parts),
            axes=own.axes)
        for own in rows
    )  # fmt: skip
    head = (*POINT_COLUMNS, *numbers("step", *(p.replace("_", " ") for p in parts)))
    return Table(f"Mass accounting: {title}", head, made)


def stacked(rows: Sequence[AccountRow], title: str) -> Figure:
    """Stacked bars by checkpoint, a panel a method: a line of panels an objective, a column a gate. The panels of a
    line have one scale."""
    objectives = list(dict.fromkeys(row.point[2] for row in rows))
    gates = list(dict.fromkeys(row.point[3] for row in rows))
    parts = [part for part in PART_COLOURS if any(part in row.parts for row in rows)]
    style, suffixes = panels([[f"{objective}, gate {gate}" for gate in gates] for objective in objectives])
    traces: list[Figure] = []
    for place in dict.fromkeys(own.point for own in rows):
        line = suffixes[objectives.index(place[2])]
        suffix = line[gates.index(place[3])]
        own = [row for row in rows if row.point == place]
        traces += [{
            "type": "bar", "name": part.replace("_", " "), "legendgroup": part, "showlegend": place == rows[0].point,
            "x": [str(row.step) for row in own], "y": [row.parts.get(part, 0.0) for row in own],
            "meta": {"objective": place[2], "gate": place[3]}, "marker": {"color": PART_COLOURS[part]},
            "xaxis": f"x{suffix}", "yaxis": f"y{suffix}",
        } for part in parts]  # fmt: skip
        style[f"xaxis{suffix}"] |= {"type": "category"}
        if suffix != line[0]:
            style[f"yaxis{suffix}"] |= {"matches": f"y{line[0]}"}
    return {"data": traces, "layout": {
        **style, "title": {"text": title}, "barmode": "relative", "bargap": 0.1, "margin": {"t": 84, "r": 16},
        "legend": {"orientation": "h", "y": -0.1},
    }}  # fmt: skip
