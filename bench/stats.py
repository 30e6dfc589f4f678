"""Intervals, corrections and verdicts: pure functions on arrays, deterministic by seed.

The design is crossed: the same probes are measured under every seed and in every cell. One set of resampled probes
and one of resampled seeds therefore serves all cells, and the difference of two cells' draws is the draw of their
paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20_26


@dataclass(frozen=True)
class Draws:
    """Resampled deviations of C cells from their means: by resampling seeds alone and probes alone.

    centre: [C]; by_seed, by_probe: [C, R], jointly resampled over the cells
    """

    centre: Array
    by_seed: Array
    by_probe: Array
    seeds: int
    probes: int

    def only(self, cells: Sequence[int]) -> Draws:
        """The draws of some of the cells, in that order."""
        rows = list(cells)
        return replace(self, centre=self.centre[rows], by_seed=self.by_seed[rows], by_probe=self.by_probe[rows])


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval, two-sided p, standard error and degrees of freedom."""

    value: float
    lo: float
    hi: float
    p: float
    error: float
    df: float


def draws(values: Array, resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """Hierarchical bootstrap of the mean: seeds, then probes. values: [C, S, P] of C cells, S seeds, P probes.

    Each part is scaled by sqrt(n/(n - 1)), since n resampled units vary too little. Seeds are few (three have ten
    different resamples, too few for a tail), so their weights are normal ones with the bootstrap's moments. With
    one seed only the probes vary: the interval then says nothing about the spread between seeds.
    """
    cells, seeds, probes = values.shape
    rng = np.random.default_rng(seed)
    centre = values.mean(axis=(1, 2))
    by_seed, by_probe = np.zeros((cells, resamples)), np.zeros((cells, resamples))
    if probes > 1:
        weights = rng.multinomial(probes, np.full(probes, 1 / probes), size=resamples) / probes
        by_probe = np.sqrt(probes / (probes - 1)) * (values.mean(axis=1) @ weights.T - centre[:, None])
    if seeds > 1:
        weights = rng.standard_normal((resamples, seeds)) / np.sqrt(seeds * (seeds - 1))
        by_seed = (values.mean(axis=2) - centre[:, None]) @ weights.T
    return Draws(centre, by_seed, by_probe, seeds, probes)


def estimate(drawn: Draws, statistic: Callable[[Array], Array]) -> Estimate:
    """A statistic of the cells' means with its interval. statistic: [C, R] -> [R].

    The draws' spread is widened to Student's t with Satterthwaite's degrees of freedom of the two parts: three seeds
    count as three where they are what varies, five hundred probes as five hundred.
    """
    from scipy import stats

    centre = drawn.centre[:, None]
    value = float(statistic(centre)[0])
    both = statistic(centre + drawn.by_seed + drawn.by_probe) - value
    parts = [
        (float(statistic(centre + part).var()), n - 1)
        for part, n in ((drawn.by_seed, drawn.seeds), (drawn.by_probe, drawn.probes))
        if n > 1
    ]
    total = sum(variance for variance, _ in parts)
    df = total**2 / sum(variance**2 / n for variance, n in parts) if total > 0 else math.inf
    tail = 1 - (1 - LEVEL) / 2
    widened = value + both * (stats.t.ppf(tail, df) / stats.norm.ppf(tail))
    lo, hi = np.quantile(widened, [1 - tail, tail])
    error = float(both.std())
    # Student's tail, where the draws themselves are too few to tell small p-values apart
    p = 2 * float(stats.t.sf(abs(value) / error, df)) if error > 0 else float(value == 0)
    return Estimate(value, float(lo), float(hi), p, error, df)


def mean_of(drawn: Draws, cell: int) -> Estimate:
    """The mean of one cell with its interval."""
    return estimate(drawn.only([cell]), lambda means: means[0])


def difference(drawn: Draws, ours: int, theirs: int) -> Estimate:
    """The paired difference of two cells' means with its interval."""
    return estimate(drawn.only([ours, theirs]), lambda means: means[0] - means[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): the family-wise error of all contrasts of a claim is held."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(p) for p in adjusted]


def detectable(error: float, df: float, chance: float = 0.8) -> float:
    """The smallest true effect that a design with this standard error tells from zero with the given chance."""
    from scipy import stats

    return float((stats.t.ppf(1 - (1 - LEVEL) / 2, df) + stats.t.ppf(chance, df)) * error)


def power(error: float, df: float, effect: float) -> float:
    """The chance that a true effect of this size is told from zero."""
    from scipy import stats

    tail = stats.t.ppf(1 - (1 - LEVEL) / 2, df)
    shift = abs(effect) / max(error, 1e-300)
    return float(stats.t.cdf(shift - tail, df) + stats.t.cdf(-shift - tail, df))


Verdict = Literal["supported", "refuted", "undecided"]


def verdict(values: Sequence[float], adjusted: Sequence[float], sign: int) -> Verdict:
    """Supported when every contrast is significant in the expected direction, refuted when one is in the other."""
    significant = [p < 1 - LEVEL for p in adjusted]
    if any(s and value * sign < 0 for value, s in zip(values, significant, strict=True)):
        return "refuted"
    if all(s and value * sign > 0 for value, s in zip(values, significant, strict=True)):
        return "supported"
    return "undecided"


def interquartile_mean(values: Array, axis: int = 0) -> Array:
    """Mean of the middle half (Agarwal et al. 2021, rliable), with fractional weights at the quartiles."""
    ordered = np.sort(values, axis=axis)
    n = ordered.shape[axis]
    edges = np.arange(n + 1) / n
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None) * 2
    found: Array = np.tensordot(weights, np.moveaxis(ordered, axis, 0), axes=1)
    return found


def probability_of_improvement(ours: Array, theirs: Array) -> float:
    """P(X > Y) + P(X = Y)/2 over all pairs of runs (Agarwal et al. 2021), ours [N] against theirs [M]."""
    above = (ours[:, None] > theirs[None]).mean()
    return float(above + 0.5 * (ours[:, None] == theirs[None]).mean())


def slopes(x: Array, y: Array) -> Array:
    """Least-squares slope of y [M, R] over x [M], one a column."""
    centred = x - x.mean()
    found: Array = centred @ (y - y.mean(axis=0)) / (centred @ centred)
    return found
