"""The curves of cells that differ in their seed only, as one band a point of the suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatebench.bench.analysis.summary import CellResult
from gatebench.bench.plan.graph import Point

if TYPE_CHECKING:
    import pandas

Curves = Mapping[str, "tuple[pandas.DataFrame, pandas.DataFrame]"]  # cell -> (dynamics, training log), by step


@dataclass(frozen=True)
class Band:
    """A quantity by step over the seeds of a point: mean, lowest and highest."""

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    seeds: int


def point(cell: CellResult) -> Point:
    return (cell.model, cell.dataset, cell.objective, cell.gate)


def bands(
    cells: Sequence[CellResult], curves: Curves, metric: str, of: Literal["dynamics", "training"] = "dynamics"
) -> dict[Point, Band]:
    """A band for every point whose curves have the metric, in the order of the cells."""
    import pandas

    found: dict[Point, list[pandas.DataFrame]] = {}
    for cell in cells:
        frame = curves[cell.id][0 if of == "dynamics" else 1]
        if metric in frame:
            found.setdefault(point(cell), []).append(frame[["step", metric]])
    return {
        place: Band(
            rows.index.tolist(), rows["mean"].tolist(), rows["min"].tolist(), rows["max"].tolist(), len(frames)
        )
        for place, frames in found.items()
        for rows in [pandas.concat(frames).groupby("step")[metric].agg(["mean", "min", "max"])]
    }  # fmt: skip
