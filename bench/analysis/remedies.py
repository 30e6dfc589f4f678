"""Remedies as curves over their strength: which one pays least, and for what is left at an equal price. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.statistics import Array
from gatebench.bench.metrics.metric import SPLIT_PREFIXES
from gatebench.bench.plan.graph import Where, matches

PAID_FOR = f"{SPLIT_PREFIXES['test']}delta_chosen"
PRICES = ("margin", f"{SPLIT_PREFIXES['test']}margin", f"{SPLIT_PREFIXES['test']}accuracy")
SIDE_EFFECTS = (
    f"{SPLIT_PREFIXES['test']}share_fallen", f"{SPLIT_PREFIXES['test']}delta_others", f"{SPLIT_PREFIXES['test']}kl",
    "generation_delta_distinct_2",
)  # fmt: skip
GRID = 21  # prices at which two curves are compared
# Of a curve that is compared. Straight lines lie below a frontier that bends, the more the farther apart its points
# are: a curve of one or two points would lose, or win, by that alone.
FEWEST_STRENGTHS = 3
PriceAndValue: TypeAlias = tuple[float, float]  # price, and what is had for it


@dataclass(frozen=True)
class Remedy:
    """One remedy on one model and data set. strengths: its points in the order of the suite; on_front: whether no other
    point of the model and data set has as much of PAID_FOR and of the first of PRICES, and more of one."""

    name: str
    model: str
    dataset: str
    strengths: tuple[Group, ...]
    on_front: tuple[bool, ...]


def remedies(named: Mapping[str, Where], groups: Sequence[Group]) -> list[Remedy]:
    """The remedies of a suite by model and data set, of the points that were measured on held-out probes."""
    known = [group for group in groups if all(name in group.metrics for name in (PAID_FOR, PRICES[0]))]
    found = []
    for model, dataset in dict.fromkeys((group.model, group.dataset) for group in known):
        here = [group for group in known if (group.model, group.dataset) == (model, dataset)]
        own = {name: tuple(g for g in here if matches(where, vars(g))) for name, where in named.items()}
        compared = [_place(group) for strengths in own.values() for group in strengths]
        found += [
            Remedy(name, model, dataset, strengths, tuple(not _beaten(_place(group), compared) for group in strengths))
            for name, strengths in own.items() if strengths
        ]  # fmt: skip
    return found


def strength(group: Group) -> str:
    """What tells the points of a remedy apart."""
    return f"{group.objective}, {group.gate}" if group.gated else group.objective


def _place(group: Group) -> PriceAndValue:
    return group.metrics[PRICES[0]], group.metrics[PAID_FOR]


def _beaten(one: PriceAndValue, others: Iterable[PriceAndValue]) -> bool:
    """Whether another has as much of both, and more of one."""
    return any(price >= one[0] and value >= one[1] and (price, value) != one for price, value in others)


def frontiers(
    metric: str, prices: Array, values: Array, ours: Sequence[int], theirs: Sequence[int]
) -> tuple[list[int], list[int]] | str:
    """Those points of two curves that are compared, or why none are: of each curve the ones that no other of its own
    points has as much of both and more of one, since a strength that breaks a model is no part of what its remedy
    can do. metric: what the prices are; prices, values: [C] means over seeds and probes; ours, theirs: places among C.
    """
    kept = (frontier(prices, values, ours), frontier(prices, values, theirs))
    for side in kept:
        if len(side) < FEWEST_STRENGTHS:
            return (
                f"a curve of {len(side)} strengths of which none beats another is too coarse to be read between them; "
                f"it takes {FEWEST_STRENGTHS}"
            )
    lo, hi = max(prices[side].min() for side in kept), min(prices[side].max() for side in kept)
    if lo > hi:
        ends = [f"{prices[side].min():.2f} to {prices[side].max():.2f}" for side in kept]
        return f"the curves reach no {metric} in common: {ends[0]} and {ends[1]}"
    if lo == hi and any(prices[place] == lo for place in set(kept[0]) & set(kept[1])):
        return f"the curves reach no {metric} in common but that of a cell that both have"
    return kept


def frontier(prices: Array, values: Array, curve: Sequence[int]) -> list[int]:
    """The places of a curve's points that no other of its points beats."""
    places: dict[int, PriceAndValue] = {index: (float(prices[index]), float(values[index])) for index in curve}
    return [index for index, place in places.items() if not _beaten(place, places.values())]


def gap_at_equal(ours: tuple[Array, Array], theirs: tuple[Array, Array]) -> Array:
    """[R]: how far one curve lies above another, meaned over the prices that both reach in that draw.

    ours, theirs: (prices, what is had for them), [A, R] and [B, R]; straight lines join the points of a curve in the
    order of their prices. A draw in which they reach none in common is taken between their nearest ends.
    """
    lo = np.maximum(ours[0].min(axis=0), theirs[0].min(axis=0))
    hi = np.minimum(ours[0].max(axis=0), theirs[0].max(axis=0))
    lo, hi = np.where(lo <= hi, lo, (lo + hi) / 2), np.where(lo <= hi, hi, (lo + hi) / 2)
    grid = lo + (hi - lo) * np.linspace(0, 1, GRID)[:, None]
    found: Array = (_at(grid, *ours) - _at(grid, *theirs)).mean(axis=0)
    return found


def _at(grid: Array, prices: Array, values: Array) -> Array:
    """[G, R]: a curve's values at prices, its ends' beyond them. prices, values: [A, R]."""
    order = np.argsort(prices, axis=0, kind="stable")
    x, y = np.take_along_axis(prices, order, axis=0), np.take_along_axis(values, order, axis=0)
    found = np.broadcast_to(y[0], grid.shape).copy()
    for left in range(len(x) - 1):
        width = x[left + 1] - x[left]
        along = np.where(width > 0, (grid - x[left]) / np.where(width > 0, width, 1), grid >= x[left])
        found += (y[left + 1] - y[left]) * np.clip(along, 0, 1)
    return found
