"""What a suite came to in a sentence or two: what stands at the top of its report and of its run in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatebench.bench.analysis.statistics import LEVEL
from gatebench.bench.analysis.table import value_and_interval
from gatebench.bench.metrics import registry

if TYPE_CHECKING:
    from gatebench.bench.analysis.claims import ClaimResult
    from gatebench.bench.analysis.lead import Behind, Lead
    from gatebench.bench.analysis.summary import Summary

NAMED = 3  # claims of one verdict that a sentence can hold; of more it tells how many there are


def answer(summary: Summary) -> str:
    """The verdicts of its claims, the decided ones first and with their difference; without claims what each gate did
    to the first headline metric over all points. Then which gate leads on the suite's main metric."""
    if not summary.finished:
        return "Nothing of it is finished yet."
    told = _verdicts(summary) if summary.claims else _gates(summary)
    return " ".join([told, *([leader(summary.lead)] if summary.lead else [])])


def leader(lead: Lead) -> str:
    """Which gate has the best figure, and whether the next one and its constant control can be told from it."""
    metric, behind = registry.get_metric(lead.metric), {other.gate: other for other in lead.others}
    how = "highest" if metric.better == "higher" else "lowest"
    figure = value_and_interval(lead.value, lead.lo, lead.hi)
    over = "1 point" if lead.points == 1 else f"{lead.points} points"
    seeds = "one seed" if lead.seeds == 1 else f"{lead.seeds} seeds"
    following, control = lead.others[0], behind.get(lead.control or "")
    words = "the next" if following is not control else "the next, the constant weight of the same mean"
    found = [_apart(following, words)]
    if control and control is not following:
        found.append(_apart(control, "the constant weight of the same mean"))
    decided = "" if all(other.p < 1 - LEVEL for other in lead.others) else ", so that which gate is best stays open"
    return (
        f"Of {len(behind) + 1} gates {lead.gate} has the {how} {registry.title(lead.metric)}: {figure} {metric.unit} "
        f"over {over}, {seeds}; {'; '.join(found)}{decided}."
    )


def _apart(other: Behind, words: str) -> str:
    gap = f"difference {value_and_interval(other.value, other.lo, other.hi)}, p {other.p:.2g}"
    return f"{'told' if other.p < 1 - LEVEL else 'not told'} from {words}, {other.gate} ({gap})"


def _verdicts(summary: Summary) -> str:
    by_verdict: dict[str, list[ClaimResult]] = {}
    for claim in sorted(summary.claims, key=lambda claim: claim.verdict == "undecided"):
        by_verdict.setdefault(claim.told, []).append(claim)
    return f"{'; '.join(_verdict(told, claims) for told, claims in by_verdict.items())}."


def _verdict(told: str, claims: Sequence[ClaimResult]) -> str:
    if len(claims) > NAMED:
        return f"{len(claims)} claims {told}"
    return f"{told.capitalize()}: {', '.join(f'“{claim.name}”{_difference(claim)}' for claim in claims)}"


def _difference(claim: ClaimResult) -> str:
    """Of a claim with one contrast; several differ, and stand in the table."""
    first = claim.contrasts[0] if len(claim.contrasts) == 1 else None
    if first is None or first.value is None:
        return ""
    return f" ({value_and_interval(first.value, first.lo, first.hi)})"


def _gates(summary: Summary) -> str:
    """Interquartile means over all points, gates in the order of the suite."""
    metric = registry.headline()[0]
    found = [gate for gate in summary.gates if gate.metric == metric]
    told = [f"{gate.gate} {value_and_interval(gate.iqm.value, gate.iqm.lo, gate.iqm.hi)}" for gate in found]
    if not told:
        return f"{len(summary.finished)} of {len(summary.cells)} cells are finished; the suite claims nothing."
    unit = registry.get_metric(metric).unit
    return f"{registry.title(metric)} over all points, {unit}: {', '.join(told)}; the suite claims nothing."
