"""Claims on measured cells -> verdicts: paired over seeds and probes, corrected over all contrasts of a claim.

Pure: no file is read here. A contrast compares two sides of cells that differ in what the claim names and are alike
in every other axis; a cell without its counterpart takes no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatebench.bench.analysis.probe_arrays import Measured, drawn_means
from gatebench.bench.analysis.statistics import Array, ClaimVerdict, Draws, estimate, holm, together, verdict
from gatebench.bench.plan.graph import POINT_AXES, Axes, Point, Where, matches, point_of
from gatebench.bench.suite.claims import Claim

SIGN = {"greater": 1, "less": -1}
DATASET = POINT_AXES.index("dataset")


@dataclass(frozen=True)
class ContrastResult:
    """ours minus theirs. value, lo, hi: in the metric's unit; detectable: the smallest true effect that this design
    would have told from zero in four of five cases; power: the chance to have seen the claim's expected effect.
    Without a value, reason says why."""

    label: str
    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    p: float | None = None
    p_holm: float | None = None
    detectable: float | None = None
    power: float | None = None
    seeds: int = 0
    probes: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its verdict; undecided too where a contrast has no value."""

    name: str
    metric: str
    expect: str
    verdict: ClaimVerdict
    contrasts: tuple[ContrastResult, ...]

    @property
    def seeds(self) -> int:
        """How many seeds the verdict rests on: those of the contrast that has fewest."""
        return min((contrast.seeds for contrast in self.contrasts), default=0)


def judge(claim: Claim, planned: Sequence[Axes], cells: Sequence[Measured]) -> ClaimResult:
    """The verdict of a claim about the planned cells, from those that are finished."""
    found = [_contrast(claim, *sides, planned, cells) for sides in _sides(claim, planned)]
    adjusted = iter(holm([contrast.p for contrast in found if contrast.p is not None]))
    found = [contrast if contrast.p is None else replace(contrast, p_holm=next(adjusted)) for contrast in found]
    whole = [(c.value, c.p_holm) for c in found if c.value is not None and c.p_holm is not None and c.reason is None]
    told: ClaimVerdict = "undecided"
    if found and len(whole) == len(found):
        told = verdict([value for value, _ in whole], [p for _, p in whole], SIGN[claim.expect])
    return ClaimResult(claim.name, claim.metric, claim.expect, told, tuple(found))


def _sides(claim: Claim, planned: Sequence[Axes]) -> Iterator[tuple[Where, Where, Where]]:
    """(values of `by`, ours, theirs) of every contrast that some planned cell takes part in."""
    for ours, theirs in claim.contrast.sides():
        own: list[Where] = [axes for axes in planned if matches(ours, axes) or matches(theirs, axes)]
        for place in dict.fromkeys(tuple(axes[axis] for axis in claim.by) for axes in own):
            yield dict(zip(claim.by, place, strict=True)), ours, theirs


def _contrast(
    claim: Claim, at: Where, ours: Where, theirs: Where, planned: Sequence[Axes], cells: Sequence[Measured]
) -> ContrastResult:
    label = ", ".join([f"{_words(ours)} vs {_words(theirs)}", *([_words(at)] if at else [])])
    wanted = _counterparts({point_of(axes): axes for axes in planned if matches(at, axes)}, ours, theirs)
    rows = _rows([cell for cell in cells if matches(at, cell.axes)])
    pairs = [pair for pair in wanted if all(point in rows for point in pair)]
    if not pairs:
        return ContrastResult(label, reason=f"none of {len(wanted)} pairs of cells is finished on both sides")
    parts: list[Draws] = []
    points: list[Point] = []
    for stream, dataset in enumerate(dict.fromkeys(point[DATASET] for point, _ in pairs)):
        own = list(dict.fromkeys(point for pair in pairs for point in pair if point[DATASET] == dataset))
        part = drawn_means([rows[point] for point in own], claim.metric, stream)
        if part is None:
            return ContrastResult(label, reason=f"the cells have no seed or no probe with {claim.metric} in common")
        parts.append(part)
        points += own
    found = estimate(together(parts), _statistic(claim, points, pairs))
    design = found.design
    return ContrastResult(
        label, found.value, found.lo, found.hi, found.p, None, design.detectable(),
        None if claim.effect is None else design.power(claim.effect), design.seeds, design.probes,
        None if len(pairs) == len(wanted) else f"{len(pairs)} of {len(wanted)} pairs of cells are finished",
    )  # fmt: skip


def _rows(cells: Sequence[Measured]) -> dict[Point, dict[int, Measured]]:
    rows: dict[Point, dict[int, Measured]] = {}
    for cell in cells:
        rows.setdefault(point_of(cell.axes), {})[cell.axes["seed"]] = cell
    return rows


def _counterparts(axes_of: Mapping[Point, Axes], ours: Where, theirs: Where) -> list[tuple[Point, Point]]:
    """(our point, their point) of all that are alike in every key that the sides do not name."""
    named = {"objective" if axis in ("loss", "warmup") else axis for axis in (*ours, *theirs)}
    alike = [index for index, key in enumerate(POINT_AXES) if key not in named]
    left, right = ([p for p, axes in axes_of.items() if matches(side, axes)] for side in (ours, theirs))
    by_rest: dict[tuple[str, ...], list[Point]] = {}
    for point in right:
        by_rest.setdefault(tuple(point[index] for index in alike), []).append(point)
    return [(point, other) for point in left for other in by_rest.get(tuple(point[index] for index in alike), ())]


def _statistic(claim: Claim, points: Sequence[Point], pairs: Sequence[tuple[Point, Point]]) -> Callable[[Array], Array]:
    """[C, R] means of the points -> [R]: the mean difference of the pairs, or of their spreads over an axis.

    The spread is the standard deviation over the axis, meaned over the other axes. Resampling noise widens both
    sides alike, so where cells differ by little more than their noise the difference of spreads is close to zero.
    """
    if claim.spread is None:
        left, right = ([points.index(pair[side]) for pair in pairs] for side in (0, 1))
        return lambda means: (means[left] - means[right]).mean(axis=0)
    groups: list[list[list[int]]] = [[], []]
    for side in (0, 1):
        by_rest: dict[tuple[str, ...], list[int]] = {}
        for point in dict.fromkeys(pair[side] for pair in pairs):
            rest = tuple(value for name, value in zip(POINT_AXES, point, strict=True) if name != claim.spread)
            by_rest.setdefault(rest, []).append(points.index(point))
        groups[side] = list(by_rest.values())

    def spread(means: Array, side: int) -> Array:
        found: Array = np.mean([means[group].std(axis=0) for group in groups[side]], axis=0)
        return found

    return lambda means: spread(means, 0) - spread(means, 1)


def _words(where: Where) -> str:
    return " ".join(f"{axis} {value}" for axis, value in where.items())
