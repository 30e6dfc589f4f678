"""Two runs side by side, or a run beside published figures: differences with intervals, signs and ranks that agree.

Pure: cells and rows come in, rows go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatebench.bench.analysis.aggregates import Group, items_of, points
from gatebench.bench.analysis.probe_arrays import Measured, drawn_means, exact_p
from gatebench.bench.analysis.statistics import difference, holm
from gatebench.bench.metrics import registry
from gatebench.objectives.gates import UNGATED


@dataclass(frozen=True)
class Difference:
    """theirs minus ours at one point of both suites, paired over the seeds and probes that both runs have."""

    model: str
    dataset: str
    objective: str
    gate: str
    metric: str
    ours: float
    theirs: float
    value: float
    lo: float | None
    hi: float | None
    p: float
    p_holm: float
    seeds: int
    probes: int


@dataclass(frozen=True)
class Published:
    """One row of a table of published results: means without intervals."""

    model: str
    objective: str
    gate: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Agreement:
    """How far one of our models agrees with one of theirs on a metric, over the methods (objective, gate) of both.

    signs: methods whose value has the same sign; effects: (objective, gate) whose gate moves the metric the same way,
    of `gated`; rank: Spearman's correlation over the methods, missing below three.
    """

    metric: str
    ours: str
    theirs: str
    methods: int
    signs: int
    gated: int
    effects: int
    rank: float | None


def differences(ours: Sequence[Measured], theirs: Sequence[Measured]) -> list[Difference]:
    """Every metric at every point that both runs have, lm-eval's by item, with Holm's correction over all of them."""
    left, right = points(ours), points(theirs)
    found = []
    for point in left:
        for metric in [*registry.published(), *items_of(left[point])] if point in right else ():
            rows = [right[point], left[point]]
            both = drawn_means(rows, metric)
            if both is None:
                continue
            result, exact = difference(both, 0, 1), exact_p(rows, metric)
            p = result.p if exact is None else exact
            model, dataset, objective, gate = point
            found.append(Difference(
                model, dataset, objective, gate, metric, float(both.centre[1]), float(both.centre[0]), result.value,
                result.lo, result.hi, p, p, both.seeds, both.probes,
            ))  # fmt: skip
    return [replace(row, p_holm=p) for row, p in zip(found, holm([row.p for row in found]), strict=True)]


def agreement(groups: Sequence[Group], published: Sequence[Published]) -> list[Agreement]:
    """A row for every metric, model of ours and model of theirs that share a method."""
    found = []
    for metric in registry.published():
        left = _values([(g.model, g.objective, published_gate(g), g.metrics) for g in groups], metric)
        right = _values([(p.model, p.objective, p.gate, p.metrics) for p in published], metric)
        for our_model, our_values in left.items():
            for their_model, their_values in right.items():
                methods = [method for method in our_values if method in their_values]
                if methods:
                    found.append(_agreement(metric, our_model, their_model, methods, our_values, their_values))
    return found


def published_gate(group: Group) -> str:
    """A gate as tables of published results name it: ungated is "none" there, whatever the suite calls it."""
    return group.gate if group.gated else UNGATED


Method = tuple[str, str]  # objective, gate


def _values(rows: Sequence[tuple[str, str, str, Mapping[str, float]]], metric: str) -> dict[str, dict[Method, float]]:
    found: dict[str, dict[Method, float]] = {}
    for model, objective, gate, metrics in rows:
        if metric in metrics:
            found.setdefault(model, {})[objective, gate] = metrics[metric]
    return found


def _agreement(
    metric: str, ours: str, theirs: str, methods: Sequence[Method], left: Mapping[Method, float],
    right: Mapping[Method, float],
) -> Agreement:  # fmt: skip
    a, b = (np.array([values[method] for method in methods]) for values in (left, right))
    gated = [(o, g) for o, g in methods if g != UNGATED and (o, UNGATED) in methods]
    moved = [[values[o, g] - values[o, UNGATED] for o, g in gated] for values in (left, right)]
    rank = None
    if len(methods) > 2:
        from scipy.stats import spearmanr

        rank = float(spearmanr(a, b).statistic)
    return Agreement(
        metric, ours, theirs, len(methods), int((np.sign(a) == np.sign(b)).sum()), len(gated),
        int((np.sign(moved[0]) == np.sign(moved[1])).sum()), rank,
    )  # fmt: skip
