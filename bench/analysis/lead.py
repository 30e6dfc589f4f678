"""Which gate of a suite has the best figure on its main metric, and which others can be told from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gatebench.bench.analysis.aggregates import points
from gatebench.bench.analysis.claims import DATASET
from gatebench.bench.analysis.probe_arrays import Measured, drawn_means
from gatebench.bench.analysis.statistics import Draws, difference, estimate, holm, together
from gatebench.bench.metrics import registry
from gatebench.objectives.gates import Gate


@dataclass(frozen=True)
class Behind:
    """Another gate. value, lo, hi: the leader's mean minus its own; p: Holm's, over all others, as any of them could
    have been the one that is named."""

    gate: str
    value: float
    lo: float | None
    hi: float | None
    p: float


@dataclass(frozen=True)
class Lead:
    """The gate with the best mean of a metric over the points that all gates have, and the others, the next best first.

    control: among these the constant weight of the gate's own mean, or, where that leads, the gate it is of.
    """

    metric: str
    gate: str
    value: float
    lo: float | None
    hi: float | None
    points: int
    seeds: int
    others: tuple[Behind, ...]
    control: str | None = None


def leading_gate(metric: str, cells: Sequence[Measured], kinds: Mapping[str, Gate]) -> Lead | None:
    """kinds: the gates by their names in the suite. None where there is nothing to compare: fewer than two gates, no
    point that all have, or a metric of which neither more nor less is an improvement."""
    better = registry.get_metric(metric).better
    rows = points(cells)
    gates = list(dict.fromkeys(point[-1] for point in rows))
    places = [point[:-1] for point in rows if point[-1] == gates[0] and all((*point[:-1], g) in rows for g in gates)]
    if better is None or len(gates) < 2 or not places:
        return None
    places.sort(key=lambda place: place[DATASET])
    parts: list[Draws] = []
    for stream, dataset in enumerate(dict.fromkeys(place[DATASET] for place in places)):
        own = [rows[*place, gate] for place in places if place[DATASET] == dataset for gate in gates]
        part = drawn_means(own, metric, stream)
        if part is None:
            return None
        parts.append(part)
    drawn = _over_places(together(parts), len(places), len(gates))
    sign = 1 if better == "higher" else -1
    first, *rest = sorted(range(len(gates)), key=lambda gate: -sign * float(drawn.centre[gate]))
    best = estimate(drawn.only([first]), lambda means: means[0])
    gaps = {gates[other]: difference(drawn, first, other) for other in rest}
    corrected = holm([gap.p for gap in gaps.values()])
    others = tuple(
        Behind(other, gap.value, gap.lo, gap.hi, p) for (other, gap), p in zip(gaps.items(), corrected, strict=True)
    )
    control = _control(gates[first], kinds)
    return Lead(metric, gates[first], best.value, best.lo, best.hi, len(places), drawn.seeds, others, control)


def _over_places(drawn: Draws, places: int, gates: int) -> Draws:
    """The mean of every gate over all places, from cells that stand a place after another, each with all gates."""
    centre, by_seed, by_probe = (
        values.reshape(places, gates, -1).mean(axis=0) for values in (drawn.centre, drawn.by_seed, drawn.by_probe)
    )
    return replace(drawn, centre=centre[:, 0], by_seed=by_seed, by_probe=by_probe)


def _control(gate: str, kinds: Mapping[str, Gate]) -> str | None:
    pairs = [(name, other) for name, kind in kinds.items() if kind.kind == "constant" and kind.of is not None
             for other, own in kinds.items() if own == kind.of]  # fmt: skip
    found = [other if gate == name else name for name, other in pairs if gate in (name, other)]
    return found[0] if found else None
