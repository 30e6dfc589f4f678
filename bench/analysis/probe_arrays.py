"""Probe values of finished cells as arrays in which the same index is the same seed and the same probe everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatebench.bench.analysis.statistics import LEVEL, RESAMPLING_SEED, Array, Draws, draws, intervals, mcnemar
from gatebench.bench.metrics.registry import place_of
from gatebench.bench.metrics.tasks import TASK_PREFIX, ByItem
from gatebench.bench.plan.graph import Axes

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Measured:
    """A finished cell as statistics need it.

    deltas: `metrics.probe_deltas` at the true end, and a row a prompt of split "generation";
    parameters: of its model, where known; tasks: lm-eval's metrics with their standard errors; items: those of them
    that are means, by item.
    """

    axes: Axes
    deltas: pandas.DataFrame
    parameters: int | None = None
    tasks: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    gated: bool = True
    items: ByItem = field(default_factory=dict)

    @property
    def gate(self) -> str:
        return self.axes["gate"]

    def by_probe(self, metric: str) -> pandas.Series[float] | None:
        """The metric of every probe of its split that has it, by prompt, or of lm-eval's items; None where none has."""
        if metric in self.items:
            return self.items[metric]
        split, name = place_of(metric)
        if split not in self._by_split or name not in self.deltas:
            return None
        values = self._by_split[split][name].dropna()
        return values if len(values) else None

    @cached_property
    def _by_split(self) -> dict[str, pandas.DataFrame]:
        return {str(split): rows.set_index("prompt") for split, rows in self.deltas.groupby("split")}


@dataclass(frozen=True)
class Cube:
    """values: [C, S, P] of C rows of cells under the same S seeds on the same P probes."""

    values: Array
    seeds: tuple[int, ...]
    prompts: tuple[int, ...]


class Bounds(NamedTuple):
    """A mean with its 95 % interval, which is missing where nothing varies that it could be told from."""

    value: float
    lo: float | None
    hi: float | None


def cube(rows: Sequence[Mapping[int, Measured]], metric: str) -> Cube | None:
    """The metric of rows of cells, each by seed, on the seeds and probes that all of them have.

    None where no seed, or no probe, is common to all.
    """
    seeds = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    found = [[row[seed].by_probe(metric) for seed in seeds] for row in rows]
    series = [values for row in found for values in row if values is not None]
    if not seeds or len(series) < len(rows) * len(seeds):
        return None
    prompts = series[0].index
    for values in series[1:]:
        if not values.index.equals(prompts):
            prompts = prompts.intersection(values.index)
    if not len(prompts):
        return None
    flat = np.stack([values.loc[prompts].to_numpy() for values in series], dtype=np.float64)
    return Cube(flat.reshape(len(rows), len(seeds), len(prompts)), tuple(seeds), tuple(prompts.tolist()))


def drawn_means(rows: Sequence[Mapping[int, Measured]], metric: str, stream: int = 0) -> Draws | None:
    """`stats.draws` of the rows; stream: rows of another data set have other probes and must be drawn apart."""
    found = cube(rows, metric)
    return None if found is None else draws(found.values, seed=RESAMPLING_SEED + stream)


def exact_p(rows: Sequence[Mapping[int, Measured]], metric: str) -> float | None:
    """McNemar's p of two rows of one cell each, which both have each item right or wrong, as lm-eval's accuracy; None
    for anything else, which resampling its items tells apart."""
    found = cube(rows, metric)
    if not metric.startswith(TASK_PREFIX) or found is None or found.values.shape[:2] != (2, 1):
        return None
    ours, theirs = found.values[:, 0]
    return mcnemar(ours, theirs) if np.isin(found.values, (0.0, 1.0)).all() else None


def with_intervals(seeds: Mapping[int, Measured], metrics: Sequence[str]) -> dict[str, Bounds]:
    """Every metric that the cells of one row have, with its interval; with one seed, over probes alone."""
    values = {metric: found.values[0] for metric in metrics if (found := cube([seeds], metric))}
    measures: dict[str, Bounds] = {}
    for shape in {array.shape for array in values.values()}:
        alike = [metric for metric, array in values.items() if array.shape == shape]
        resampled = draws(np.stack([values[metric] for metric in alike]))
        lo, hi = intervals(resampled)
        known = max(shape) > 1
        for index, metric in enumerate(alike):
            value = float(resampled.centre[index])
            measures[metric] = Bounds(value, float(lo[index]), float(hi[index])) if known else Bounds(value, None, None)
    return {metric: measures[metric] for metric in values}


def tasks(seeds: Mapping[int, Measured]) -> dict[str, Bounds]:
    """lm-eval's metrics over seeds. The questions are the same for every seed, so their error does not shrink with
    the number of seeds; the spread between seeds does."""
    from scipy import stats

    found: dict[str, Bounds] = {}
    for name in next(iter(seeds.values())).tasks:
        own = [cell.tasks[name] for cell in seeds.values() if name in cell.tasks]
        if len(own) < len(seeds):
            continue
        values, errors = np.array([value for value, _ in own]), [error for _, error in own]
        value = float(values.mean())
        if None in errors:
            found[name] = Bounds(value, None, None)
            continue
        half = stats.norm.isf((1 - LEVEL) / 2) * float(np.sqrt((np.array(errors, dtype=float) ** 2).mean()))
        if len(values) > 1:
            between = stats.t.isf((1 - LEVEL) / 2, len(values) - 1) * float(values.std(ddof=1)) / np.sqrt(len(values))
            half = float(np.hypot(half, between))
        found[name] = Bounds(value, value - half, value + half)
    return found
