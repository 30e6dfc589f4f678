"""What many cells say together: each point over its seeds, each gate over all points, the gate's effect by scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from gatebench.bench.analysis.probe_arrays import Measured, cube, drawn_means, exact_p, tasks, with_intervals
from gatebench.bench.analysis.statistics import (
    LEVEL,
    RESAMPLES,
    RESAMPLING_SEED,
    Array,
    difference,
    estimate,
    holm,
    interquartile_mean,
    probability_of_improvement,
    slopes,
)
from gatebench.bench.analysis.strata import PAIR_KINDS, of_kind
from gatebench.bench.metrics import registry
from gatebench.bench.plan.graph import Point, point_of


@dataclass(frozen=True)
class Group:
    """One point of the suite over its seeds. metrics: means, with `_lo` and `_hi` after the name for the interval.
    Those of lm-eval carry its own standard errors and the spread between seeds. kind: of the pairs that the probes are
    of, where it is one of several; unsteady: metrics whose mean has not the same sign in every seed."""

    model: str
    dataset: str
    objective: str
    gate: str
    seeds: tuple[int, ...]
    metrics: Mapping[str, float]
    gated: bool = True
    kind: str = ""
    unsteady: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interval:
    """lo and hi are missing where there is one seed."""

    value: float
    lo: float | None
    hi: float | None


@dataclass(frozen=True)
class GateAggregate:
    """A gate over all points of the suite (Agarwal et al. 2021, rliable), intervals by resampling seeds within points.

    iqm: the interquartile mean of the metric over points and seeds; improvement: the probability that a run with the
    gate beats an ungated one of the same point.
    """

    gate: str
    metric: str
    points: int
    seeds: int
    iqm: Interval
    improvement: Interval | None


@dataclass(frozen=True)
class ScaleSlope:
    """How the gate's effect on the metric (gated minus ungated; for gate none the ungated value itself) changes with
    every factor of ten in parameters: the least-squares slope over the models, with its interval."""

    dataset: str
    objective: str
    gate: str
    metric: str
    models: tuple[str, ...]
    slope: float
    lo: float | None
    hi: float | None
    p: float
    seeds: int
    gated: bool = True


@dataclass(frozen=True)
class TaskContrast:
    """What a gate changes in one of lm-eval's metrics: gated minus ungated of the same point, paired by item.

    p: McNemar's exact one for one seed whose items are right or wrong (exact), else that of resampling seeds and items;
    p_holm: corrected over all rows.
    """

    model: str
    dataset: str
    objective: str
    gate: str
    metric: str
    gated: float
    ungated: float
    value: float
    lo: float | None
    hi: float | None
    p: float
    p_holm: float
    exact: bool
    seeds: int
    items: int


def flat(measures: Mapping[str, tuple[float, float | None, float | None]]) -> dict[str, float]:
    """name -> value, and name_lo, name_hi where there is an interval."""
    return {
        f"{name}{end}": value for name, bounds in measures.items()
        for end, value in zip(("", "_lo", "_hi"), bounds, strict=True) if value is not None
    }  # fmt: skip


def points(cells: Sequence[Measured]) -> dict[Point, dict[int, Measured]]:
    """The cells of every point of the suite, by seed."""
    found: dict[Point, dict[int, Measured]] = {}
    for cell in cells:
        found.setdefault(point_of(cell.axes), {})[cell.axes["seed"]] = cell
    return found


def metrics_of(seeds: Mapping[int, Measured]) -> dict[str, float]:
    """Every metric that the cells of one point have, by seed, with its interval."""
    return flat({**with_intervals(seeds, registry.names()), **tasks(seeds)})


def items_of(seeds: Mapping[int, Measured]) -> list[str]:
    """The metrics of lm-eval's that all cells of one point have by item."""
    return sorted(set.intersection(*(set(cell.items) for cell in seeds.values())))


def task_contrasts(cells: Sequence[Measured]) -> list[TaskContrast]:
    """A row for every gated point with an ungated twin and every metric of lm-eval's that both have by item."""
    rows, open_gates = points(cells), ungated_gates(cells)
    found = []
    for point, gated in rows.items():
        twin = rows.get((*point[:-1], open_gates[0])) if open_gates and point[-1] not in open_gates else None
        for metric in items_of(gated) if twin else ():
            both = [gated, twin or {}]
            drawn = drawn_means(both, metric)
            if drawn is None:
                continue
            result, exact = difference(drawn, 0, 1), exact_p(both, metric)
            p = result.p if exact is None else exact
            ours, theirs = drawn.centre.tolist()
            found.append(TaskContrast(*point, metric, ours, theirs, result.value, result.lo, result.hi, p, p,
                                      exact is not None, drawn.seeds, drawn.probes))  # fmt: skip
    return [replace(row, p_holm=p) for row, p in zip(found, holm([row.p for row in found]), strict=True)]


class Gated(Protocol):
    """Whatever has a gate: its name, and whether it is one by its kind."""

    @property
    def gate(self) -> str: ...
    @property
    def gated(self) -> bool: ...


def ungated_gates(rows: Sequence[Gated]) -> list[str]:
    """The names of the gates that are none, in order; a gate is told by its kind, never by its name."""
    return list(dict.fromkeys(row.gate for row in rows if not row.gated))


def groups(cells: Sequence[Measured]) -> list[Group]:
    """A group a point, in the order of the suite."""
    return [
        Group(model, dataset, objective, gate, tuple(sorted(row)), metrics_of(row), next(iter(row.values())).gated)
        for (model, dataset, objective, gate), row in points(cells).items()
    ]


def groups_by_kind(cells: Sequence[Measured]) -> list[Group]:
    """A group a point and kind of pair, of the data sets that mark them; those that are compared stand together."""
    found = []
    for (model, dataset, objective, gate), row in points(cells).items():
        for kind in PAIR_KINDS:
            own = {seed: of_kind(cell, kind) for seed, cell in row.items()}
            metrics = metrics_of(own)
            if metrics:
                gated = next(iter(row.values())).gated
                found.append(Group(model, dataset, objective, gate, tuple(sorted(row)), metrics, gated, kind,
                                   tuple(_unsteady(own, metrics))))  # fmt: skip
    first = {place: number for number, place in enumerate(dict.fromkeys((g.model, g.dataset) for g in found))}
    return sorted(found, key=lambda g: (first[g.model, g.dataset], PAIR_KINDS.index(g.kind)))


def _unsteady(seeds: Mapping[int, Measured], metrics: Mapping[str, float]) -> Iterator[str]:
    for name in metrics:
        values = [cell.by_probe(name) for cell in seeds.values()] if name in registry.names() else []
        if len({bool(found.mean() > 0) for found in values if found is not None}) > 1:
            yield name


def gate_aggregates(cells: Sequence[Measured], metric: str = "delta_chosen") -> list[GateAggregate]:
    """A row a gate, over the points and seeds that all gates have."""
    by_gate: dict[str, dict[tuple[str, ...], dict[int, float]]] = {}
    for point, row in points(cells).items():
        found = cube([row], metric)
        if found is not None:
            means = found.values[0].mean(axis=1)
            by_gate.setdefault(point[-1], {})[point[:-1]] = dict(zip(found.seeds, means.tolist(), strict=True))
    if not by_gate:
        return []
    places = [place for place in next(iter(by_gate.values())) if all(place in rows for rows in by_gate.values())]
    seeds = sorted(set.intersection(*(set(rows[p]) for rows in by_gate.values() for p in places))) if places else []
    if not seeds:
        return []
    values = {gate: np.array([[rows[p][s] for s in seeds] for p in places]) for gate, rows in by_gate.items()}
    open_gates = ungated_gates(cells)
    ungated = values.get(open_gates[0]) if open_gates else None
    return [_aggregate(gate, metric, own, None if gate in open_gates else ungated) for gate, own in values.items()]


def _aggregate(gate: str, metric: str, own: Array, ungated: Array | None) -> GateAggregate:
    """own, ungated: [points, seeds]"""
    again = _resampled(own, stream=0)
    iqm = _interval(interquartile_mean(own.reshape(-1, 1)), interquartile_mean(again.reshape(-1, RESAMPLES)), own)
    improvement = None
    if ungated is not None:
        better = probability_of_improvement(again, _resampled(ungated, stream=1))
        improvement = _interval(probability_of_improvement(own[..., None], ungated[..., None]), better, own)
    return GateAggregate(gate, metric, own.shape[0], own.shape[1], iqm, improvement)


def _resampled(values: Array, stream: int) -> Array:
    """[points, seeds, R]: the seeds of every point drawn again with replacement, each point apart."""
    count, seeds = values.shape
    drawn_seeds = np.random.default_rng([RESAMPLING_SEED, stream]).integers(seeds, size=(count, seeds, RESAMPLES))
    return np.take_along_axis(values[:, :, None], drawn_seeds, axis=1)


def _interval(value: Array, resampled: Array, cells: Array) -> Interval:
    """value: [1]; resampled: [R]; cells: [points, seeds]"""
    if cells.shape[1] < 2:
        return Interval(float(value[0]), None, None)
    tail = (1 - LEVEL) / 2
    lo, hi = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(value[0]), float(lo), float(hi))


def scale_slopes(cells: Sequence[Measured], metric: str = "delta_chosen") -> list[ScaleSlope]:
    """The gate's effect over log10 parameters, for every data set, objective and gate with models of two sizes."""
    rows, open_gates = points(cells), ungated_gates(cells)
    found = []
    for dataset, objective, gate in dict.fromkeys(point[1:] for point in rows) if open_gates else ():
        alone, ungated = gate in open_gates, gate if gate in open_gates else open_gates[0]
        models = [
            point[0] for point in rows
            if point[1:] == (dataset, objective, gate) and (point[0], dataset, objective, ungated) in rows
        ]  # fmt: skip
        sizes = [next(iter(rows[model, dataset, objective, gate].values())).parameters for model in models]
        known = [(model, size) for model, size in zip(models, sizes, strict=True) if size]
        if len({size for _, size in known}) < 2:
            continue
        kept = [model for model, _ in known]
        x = np.log10([float(size) for _, size in known])
        both = [rows[model, dataset, objective, name] for name in (gate, ungated) for model in kept]
        resampled = drawn_means(both, metric)
        if resampled is None:
            continue

        def slope(means: Array, count: int = len(kept), x: Array = x, alone: bool = alone) -> Array:
            return slopes(x, means[:count] if alone else means[:count] - means[count:])

        result = estimate(resampled, slope)
        found.append(ScaleSlope(dataset, objective, gate, metric, tuple(kept), result.value, result.lo, result.hi,
                                result.p, resampled.seeds, not alone))  # fmt: skip
    return found
