"""Intervals, corrections and verdicts: pure functions on arrays, deterministic by seed.

The design is crossed: the same probes are measured under every seed and in every cell. One set of resampled probes
and one of resampled seeds therefore serves all cells, and the difference of two cells' draws is the draw of their
paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 10_000
LEVEL = 0.95
SMALLEST_P = 1e-9
MOST_RESAMPLED = 2000  # probes
ROUNDING = 1e-12  # of a value: what differs by less is equal
RESAMPLING_SEED = 20_26


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
    """A statistic with its 95 % interval, its two-sided p and its two standard errors. lo and hi are missing where
    there is neither a second seed nor a second probe to tell them from; p is then 1."""

    value: float
    lo: float | None
    hi: float | None
    p: float
    design: Design


@dataclass(frozen=True)
class Design:
    """How well a design measures: the standard errors that seeds and probes leave, and how many of each."""

    seed_error: float
    probe_error: float
    seeds: int
    probes: int

    def reach(self, tail: float) -> float:
        """Half the width of the interval that leaves `tail` on each side: Student's t of each part, in quadrature.

        Slightly wide where both parts matter. Satterthwaite's degrees of freedom are exact on average but far too
        narrow in just those samples of three seeds that happen to lie close together.
        """
        from scipy import stats

        parts = ((self.seed_error, self.seeds), (self.probe_error, self.probes))
        return math.hypot(*(error * float(stats.t.isf(tail, _freedom(n))) for error, n in parts if error > 0))

    def p_value(self, value: float) -> float:
        """The two-sided p at which the interval just touches zero. Where all units say the same, which no interval can
        be told from, that of the sign test: n of n on one side; 1 for a single one."""
        from scipy import optimize

        if value == 0:
            return 1.0
        if self.reach(0.4) <= ROUNDING * abs(value):
            return max(SMALLEST_P, 2.0 ** (1 - max(self.seeds, self.probes)))
        if self.reach(SMALLEST_P / 2) < abs(value):
            return SMALLEST_P
        return 2 * float(optimize.brentq(lambda tail: self.reach(tail) - abs(value), SMALLEST_P / 2, 0.5))

    def detectable(self, chance: float = 0.8) -> float:
        """The smallest true effect that this design tells from zero with the given chance (0.5 to 1)."""
        return self.reach((1 - LEVEL) / 2) + self.reach(1 - chance)

    def power(self, effect: float) -> float:
        """The chance that a true effect of this size is told from zero."""
        from scipy import stats

        error = math.hypot(self.seed_error, self.probe_error)
        if error == 0:
            return float(effect != 0)
        return float(stats.norm.cdf((abs(effect) - self.reach((1 - LEVEL) / 2)) / error))


def draws(values: Array, resamples: int = RESAMPLES, seed: int = RESAMPLING_SEED) -> Draws:
    """Hierarchical bootstrap of the mean: seeds, then probes. values: [C, S, P] of C cells, S seeds, P probes.

    Each part is scaled by sqrt(n/(n - 1)), since n resampled units vary too little. Seeds are few (three have ten
    different resamples, too few for a tail), so their weights are normal ones with the bootstrap's moments, and so are
    those of thousands of probes, whose resamples would fill the memory and whose means are as normal. With
    one seed only the probes vary: the interval then says nothing about the spread between seeds. With one of each
    nothing varies, and there is no interval.
    """
    cells, seeds, probes = values.shape
    centre = values.mean(axis=(1, 2))
    by_seed, by_probe = np.zeros((cells, resamples)), np.zeros((cells, resamples))
    if probes > MOST_RESAMPLED:
        by_probe = _normal(values.mean(axis=1) - centre[:, None], resamples, seed)
    elif probes > 1:
        weights = _probe_weights(probes, resamples, seed)
        by_probe = np.sqrt(probes / (probes - 1)) * (values.mean(axis=1) @ weights.T - centre[:, None])
    if seeds > 1:
        weights = np.random.default_rng([seed, seeds]).standard_normal((resamples, seeds))
        by_seed = (values.mean(axis=2) - centre[:, None]) @ weights.T / np.sqrt(seeds * (seeds - 1))
    return Draws(centre, by_seed, by_probe, seeds, probes)


def _normal(deviations: Array, resamples: int, seed: int) -> Array:
    """[C, R] normal draws with the covariance of the means of C cells; deviations: [C, P] from those means."""
    cells, probes = deviations.shape
    size, direction = np.linalg.eigh(deviations @ deviations.T / (probes * (probes - 1)))
    drawn = np.random.default_rng([seed, probes]).standard_normal((resamples, cells))
    found: Array = (direction * np.sqrt(np.clip(size, 0, None))) @ drawn.T
    return found


@lru_cache(maxsize=2)  # 40 MB each for 500 probes
def _probe_weights(probes: int, resamples: int, seed: int) -> Array:
    """[R, P] how often each probe is drawn, as a share; the same for every contrast, so that they are comparable."""
    counts = np.random.default_rng(seed).multinomial(probes, np.full(probes, 1 / probes), size=resamples)
    return counts / probes


def _freedom(units: int) -> int:
    """Student's degrees of freedom. A single unit beside parts with more, whose spread is all there is, counts as
    two."""
    return max(units - 1, 1)


def together(parts: Sequence[Draws]) -> Draws:
    """Draws of cells on several data sets, resampled apart, as one; each part keeps the spread of its own probes."""
    return Draws(
        np.concatenate([part.centre for part in parts]), np.concatenate([part.by_seed for part in parts]),
        np.concatenate([part.by_probe for part in parts]), min(part.seeds for part in parts),
        min(part.probes for part in parts),
    )  # fmt: skip


def estimate(drawn: Draws, statistic: Callable[[Array], Array]) -> Estimate:
    """A statistic of the cells' means with its interval. statistic: [C, R] -> [R].

    The draws' two parts are widened from normal to Student's t, so that three seeds count as three and five hundred
    probes as five hundred.
    """
    tail = (1 - LEVEL) / 2
    centre = drawn.centre[:, None]
    value = float(statistic(centre)[0])
    errors = [float(statistic(centre + part).std()) for part in (drawn.by_seed, drawn.by_probe)]
    design = Design(errors[0], errors[1], drawn.seeds, drawn.probes)
    if max(drawn.seeds, drawn.probes) < 2:
        return Estimate(value, None, None, 1.0, design)
    lo, hi = np.quantile(statistic(centre + _widened(drawn, tail)), [tail, 1 - tail])
    return Estimate(value, min(float(lo), value), max(float(hi), value), design.p_value(value), design)


def intervals(drawn: Draws) -> tuple[Array, Array]:
    """(lo, hi) of every cell's mean, [C] each; as `estimate` gives them, for many cells at once."""
    tail = (1 - LEVEL) / 2
    lo, hi = np.quantile(drawn.centre[:, None] + _widened(drawn, tail), [tail, 1 - tail], axis=1)
    # where all probes say the same, rounding alone can put a bound on the wrong side of the mean
    return np.minimum(lo, drawn.centre), np.maximum(hi, drawn.centre)


def _widened(drawn: Draws, tail: float) -> Array:
    """[C, R] deviations of both parts, each widened from normal to Student's t of its number of units."""
    from scipy import stats

    wide = np.zeros_like(drawn.by_probe)
    for part, n in ((drawn.by_seed, drawn.seeds), (drawn.by_probe, drawn.probes)):
        wide = wide + part * (stats.t.isf(tail, _freedom(n)) / stats.norm.isf(tail))
    return wide


def difference(drawn: Draws, ours: int, theirs: int) -> Estimate:
    """The paired difference of two cells' means with its interval."""
    return estimate(drawn.only([ours, theirs]), lambda means: means[0] - means[1])


def mcnemar(ours: Array, theirs: Array) -> float:
    """The exact two-sided p of McNemar's test: of the items, [P] each 0 or 1, that one side has right and the other
    wrong, each side would have half (Dietterich 1998, sec. 3.1, with the binomial in place of chi-squared)."""
    from scipy import stats

    won, lost = int((ours > theirs).sum()), int((ours < theirs).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): the family-wise error of all contrasts of a claim is held."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(p) for p in adjusted]


ClaimVerdict = Literal["supported", "refuted", "undecided"]


def verdict(values: Sequence[float], adjusted: Sequence[float], sign: int) -> ClaimVerdict:
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


def probability_of_improvement(ours: Array, theirs: Array) -> Array:
    """P(ours > theirs) + P(ours = theirs)/2 over all pairs of runs of a point, meaned over points (Agarwal et al.
    2021). ours, theirs: [points, runs, R] -> [R]"""
    ours, theirs = ours[:, :, None], theirs[:, None]
    found: Array = ((ours > theirs) + 0.5 * (ours == theirs)).mean(axis=(0, 1, 2))
    return found


def slopes(x: Array, y: Array) -> Array:
    """Least-squares slope of y [M, R] over x [M], one a column."""
    centred = x - x.mean()
    found: Array = centred @ (y - y.mean(axis=0)) / (centred @ centred)
    return found
