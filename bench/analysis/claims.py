"""Claims on measured cells -> verdicts: paired over seeds and probes, corrected over all contrasts of a claim.

Pure: no file is read here. A contrast compares two sides of cells that differ in what the claim names and are alike
in every other axis; a cell that the suite gave no counterpart takes no part. A planned cell that takes part and has no
result leaves its contrast undecided: what failed is rarely like what did not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gatebench.bench.analysis.probe_arrays import Measured, drawn_means, exact_p
from gatebench.bench.analysis.remedies import frontiers, gap_at_equal
from gatebench.bench.analysis.statistics import (
    LEVEL,
    Array,
    ClaimVerdict,
    Design,
    Draws,
    estimate,
    holm,
    together,
    verdict,
)
from gatebench.bench.analysis.strata import in_part, parts_of
from gatebench.bench.metrics import registry
from gatebench.bench.metrics.registry import place_of
from gatebench.bench.plan.graph import POINT_AXES, Axes, Point, Where, matches, point_of
from gatebench.bench.suite.claims import Claim

SIGN = {"greater": 1, "less": -1}
DATASET = POINT_AXES.index("dataset")
OTHER_SPLIT = 1000  # streams of draws further


@dataclass(frozen=True)
class ContrastResult:
    """ours minus theirs. value, lo, hi: in the metric's unit; detectable: the smallest true effect that this design
    would have told from zero in four of five cases; power: the chance to have seen the claim's expected effect.
    Without a p, reason says why; the value is then that of the cells that have one, if there are any."""

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
    """A claim with its verdict; undecided too where a contrast has no p.

    registered: when a run of the suite first met the claim, in seconds since 1970, None where none has; digest: of what
    it says; seen: how many of its cells had a result by then. A claim with any was made after the fact.
    left_out: how many of the suite's cells that it is about were not asked of this run (--only); narrowed: how many
    that an earlier run of it was about had a result when this one left them out, which is after the fact as well.
    """

    name: str
    metric: str
    expect: str
    verdict: ClaimVerdict
    contrasts: tuple[ContrastResult, ...]
    registered: float | None = None
    digest: str = ""
    seen: int = 0
    left_out: int = 0
    narrowed: int = 0

    @property
    def told(self) -> str:
        """The verdict as a reader has to be told it: of one seed it holds for that run and no other, of some of its
        cells for these."""
        decided = self.verdict != "undecided"
        of_run = " in this run" if self.seeds == 1 and decided else ""
        of_part = " on part of its cells" if self.left_out and decided else ""
        return f"{self.verdict}{of_run}{of_part}{', after the fact' if self.seen or self.narrowed else ''}"

    @property
    def seeds(self) -> int:
        """How many seeds the verdict rests on: the fewest of any contrast that could be measured."""
        return min((contrast.seeds for contrast in self.contrasts if contrast.value is not None), default=0)


def judge(
    claim: Claim, planned: Sequence[Axes], cells: Sequence[Measured], named: Mapping[str, Where] | None = None
) -> ClaimResult:
    """The verdict of a claim about the planned cells, from those that are finished. named: sides that have a name.

    Its family of contrasts, which Holm's correction is over, is of the planned cells: what a run was never asked to
    make is not planned, and what was dropped when its result could be seen still is.
    """
    parts: tuple[str | None, ...] = parts_of(claim.strata) if claim.strata else (None,)
    found = [
        _contrast(claim, *sides, planned, cells, part, named or {})
        for sides in _sides(claim, planned)
        for part in parts
    ]
    if not found:
        found = [ContrastResult("every contrast", reason="the cells that it compares were left out of this run")]
    # a contrast without a p was asked about too, so that it counts among those that are corrected for
    adjusted = holm([1.0 if contrast.p is None else contrast.p for contrast in found])
    found = [c if c.p is None else replace(c, p_holm=p) for c, p in zip(found, adjusted, strict=True)]
    whole = [(c.value, c.p_holm) for c in found if c.value is not None and c.p_holm is not None]
    told = verdict([value for value, _ in whole], [p for _, p in whole], SIGN[claim.expect]) if whole else "undecided"
    if told == "supported" and len(whole) < len(found):
        told = "undecided"
    return ClaimResult(claim.name, claim.metric, claim.expect, told, tuple(found))


def taking_part(claim: Claim, planned: Sequence[Axes]) -> list[Axes]:
    """The planned cells that some contrast of a claim compares."""
    found: list[Axes] = []
    for at, ours, theirs in _sides(claim, planned):
        own = [axes for axes in planned if matches(at, axes)]
        pairs = _compared(claim, {point_of(axes): axes for axes in own}, ours, theirs)
        points = {point for pair in pairs for point in pair}
        found += [axes for axes in own if point_of(axes) in points and axes not in found]
    return found


def _sides(claim: Claim, planned: Sequence[Axes]) -> Iterator[tuple[Where, Where, Where]]:
    """(values of `by`, ours, theirs) of every contrast that some planned cell takes part in."""
    for ours, theirs in claim.contrast.sides():
        own: list[Where] = [axes for axes in planned if matches(ours, axes) or matches(theirs, axes)]
        for place in dict.fromkeys(tuple(axes[axis] for axis in claim.apart) for axes in own):
            at = dict(zip(claim.apart, place, strict=True))
            here = {point_of(axes): axes for axes in planned if matches(at, axes)}
            if _compared(claim, here, ours, theirs):
                yield at, ours, theirs


def _contrast(
    claim: Claim,
    at: Where,
    ours: Where,
    theirs: Where,
    planned: Sequence[Axes],
    cells: Sequence[Measured],
    stratum: str | None,
    named: Mapping[str, Where],
) -> ContrastResult:
    equal = [f"at equal {claim.at_equal}"] if claim.at_equal else []
    label = ", ".join(
        [
            f"{_words(ours, named)} vs {_words(theirs, named)}",
            *([_words(at, {})] if at else []),
            *([stratum] if stratum else []),
            *equal,
        ]
    )
    own = [axes for axes in planned if matches(at, axes)]
    wanted = _compared(claim, {point_of(axes): axes for axes in own}, ours, theirs)
    rows = _rows([cell for cell in cells if matches(at, cell.axes)])
    pairs = [pair for pair in wanted if all(point in rows for point in pair)]
    if not pairs:
        return ContrastResult(label, reason=f"none of {len(wanted)} pairs of cells is finished on both sides")
    parts: list[Draws] = []
    points: list[Point] = []
    for stream, dataset in enumerate(dict.fromkeys(point[DATASET] for point, _ in pairs)):
        mine = list(dict.fromkeys(point for pair in pairs for point in pair if point[DATASET] == dataset))
        compared: Sequence[Mapping[int, Measured]] | None = [rows[point] for point in mine]
        if claim.strata and stratum:
            compared = in_part([rows[point] for point in mine], claim.metric, claim.strata, stratum)
        if compared is None:
            return ContrastResult(label, reason=f"the cells have no seed or no probe with {claim.strata} in common")
        for metric in filter(None, (claim.metric, claim.at_equal)):
            # probes of another split are others, and drawn apart from those of the metric
            apart = OTHER_SPLIT * (place_of(metric)[0] != place_of(claim.metric)[0])
            part = drawn_means(compared, metric, stream + apart)
            if part is None:
                return ContrastResult(label, reason=f"the cells have no seed or no probe with {metric} in common")
            parts.append(part)
        points += mine
    if claim.at_equal is None:
        statistic = _statistic(claim, points, pairs)
    else:
        left, right = (
            [points.index(point) for point in dict.fromkeys(pair[side] for pair in pairs)] for side in (0, 1)
        )
        values, prices = (part.centre for part in parts)  # of one data set, as `apart` has it
        lower = registry.get_metric(claim.metric).better == "lower"
        curves = frontiers(claim.at_equal, prices, -values if lower else values, left, right)
        if isinstance(curves, str):
            return ContrastResult(label, reason=curves)
        statistic = _gap(len(points), *curves)
    found = estimate(together(parts), statistic)
    design = found.design
    if len(pairs) == 1 and not (claim.spread or claim.at_equal):
        exact = exact_p([rows[point] for point in pairs[0]], claim.metric)
        found = found if exact is None else replace(found, p=exact)
    if claim.at_equal and found.lo is not None:
        # where lines cross, the draws' quantiles and their spread part: the spread for p and interval alike
        half = design.reach((1 - LEVEL) / 2)
        found = replace(found, lo=found.value - half, hi=found.value + half)
    reason = _undecided({point for pair in wanted for point in pair}, own, rows, design)
    if reason:
        return ContrastResult(label, found.value, found.lo, found.hi, seeds=design.seeds, probes=design.probes,
                              reason=reason)  # fmt: skip
    return ContrastResult(
        label, found.value, found.lo, found.hi, found.p, None, design.detectable(),
        None if claim.effect is None else design.power(claim.effect), design.seeds, design.probes,
    )  # fmt: skip


def _undecided(
    wanted: Collection[Point], planned: Sequence[Axes], rows: Mapping[Point, Mapping[int, Measured]], design: Design
) -> str | None:
    """Why a value decides nothing; None where it may."""
    own = [axes for axes in planned if point_of(axes) in wanted]
    lacking = [axes for axes in own if axes["seed"] not in rows.get(point_of(axes), {})]
    if lacking:
        first = "/".join((*point_of(lacking[0]), str(lacking[0]["seed"])))
        return f"{len(lacking)} of {len(own)} planned cells have no result, the first: {first}"
    if max(design.seeds, design.probes) < 2:
        return "one seed and one probe: nothing tells how far they would differ"
    return None


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


def _compared(claim: Claim, axes_of: Mapping[Point, Axes], ours: Where, theirs: Where) -> list[tuple[Point, Point]]:
    """The pairs of points that a contrast compares: of two curves, each of one with each of the other."""
    if claim.at_equal is None:
        return _counterparts(axes_of, ours, theirs)
    left, right = ([p for p, axes in axes_of.items() if matches(side, axes)] for side in (ours, theirs))
    return list(product(left, right))


def _gap(points: int, left: Sequence[int], right: Sequence[int]) -> Callable[[Array], Array]:
    """[2C, R] means of the points, then of what their curves run over -> [R]: how far our curve lies above theirs."""
    return lambda means: gap_at_equal(
        (means[points:][left], means[:points][left]), (means[points:][right], means[:points][right])
    )


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


def _words(where: Where, named: Mapping[str, Where]) -> str:
    for name, own in named.items():
        if own == where:
            return name
    return " ".join(
        f"{axis} {' / '.join(map(str, value)) if isinstance(value, list) else value}" for axis, value in where.items()
    )
