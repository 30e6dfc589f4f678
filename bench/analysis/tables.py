"""The results of a suite as tables: every figure with its interval. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.aggregates import Interval as Bounds
from gatebench.bench.analysis.claims import ClaimResult, ContrastResult
from gatebench.bench.analysis.remedies import PAID_FOR, PRICES, SIDE_EFFECTS, remedies, strength
from gatebench.bench.analysis.summary import Summary
from gatebench.bench.analysis.table import (
    Column,
    Table,
    TableCell,
    TableRow,
    bold,
    interval,
    numbers,
    row,
    texts,
    value_and_interval,
)
from gatebench.bench.metrics import registry
from gatebench.bench.metrics.dynamics import ARGMAX, BY_KIND
from gatebench.bench.plan.graph import NAME_AXES, POINT_AXES
from gatebench.bench.stages.registry import kinds

ONE_SEED = "one seed, seeds were not varied: how far runs differ between seeds is not in these intervals"
SQUEEZING, DISPLACEMENT = "squeezing", "displacement"
POINT_COLUMNS = texts("model", "data", "objective", "gate")


def results_table(summary: Summary) -> Table:
    """`points_table` with the headline metrics and those of held-out prompts beside them; below it the cells without a
    result, with their status."""
    unfinished = [cell for cell in summary.cells if cell.status != "finished"]
    rows = [
        row(cell.model, cell.dataset, cell.objective, cell.gate,
            TableCell(f"{cell.status}: seed {cell.seed}", tone="bad"), section=place == 0)
        for place, cell in enumerate(unfinished)
    ]  # fmt: skip
    always = registry.measured_always()
    shown = [name for name in registry.headline() if name in always or any(name in g.metrics for g in summary.groups)]
    shown += [name for name in registry.held_out() if any(name in group.metrics for group in summary.groups)]
    return points_table(summary, shown).with_rows(rows)


def points_table(summary: Summary, metrics: Sequence[str]) -> Table:
    """A row a point of the suite, meaned over its seeds, with 95 % intervals; in each (model, data set) the best value
    of a headline metric is bold."""
    best = _best(summary.groups)
    rows = []
    for before, group in pairwise((None, *summary.groups)):
        if group is None:
            continue
        place = (group.model, group.dataset)
        cells = [
            TableCell(text, bold=bool(text) and best.get((*place, name)) == group.metrics[name])
            for name in metrics for text in [with_interval(group.metrics, name)]
        ]  # fmt: skip
        starts = before is not None and (before.model, before.dataset) != place
        rows.append(row(*_point(group), str(len(group.seeds)), *cells, axes=_axes(group), section=starts))
    title = f"{summary.suite}: change of log-probs, nats a response"
    head = (*POINT_COLUMNS, *numbers("seeds", *map(registry.title, metrics)))
    return Table(title, head, tuple(rows), _of_seeds(summary) or None)


def _of_seeds(summary: Summary) -> str:
    """What differs between the seeds that the intervals are over."""
    alone = any(len(group.seeds) == 1 for group in summary.groups) or any(claim.seeds == 1 for claim in summary.claims)
    return ONE_SEED if alone else summary.varied


def kinds_table(summary: Summary) -> Table:
    """A row a point and kind of pair, and what its signs are called."""
    metrics = [name for name in BY_KIND if any(name in group.metrics for group in summary.kinds)]
    rows = []
    for before, group in pairwise((None, *summary.kinds)):
        if group is None:
            continue
        place = (group.model, group.dataset, group.kind)
        figures = [with_interval(group.metrics, name) + "?" * (name in group.unsteady) for name in metrics]
        starts = before is not None and (before.model, before.dataset, before.kind) != place
        rows.append(row(group.model, group.dataset, group.kind, group.objective, group.gate, str(len(group.seeds)),
                        *figures, phenomenon(group), axes=_axes(group), section=starts))  # fmt: skip
    head = (*texts("model", "data", "pairs", "objective", "gate"), *numbers("seeds", *map(registry.title, metrics)),
            *texts("called"))  # fmt: skip
    caption = (
        f"{SQUEEZING}: chosen and others fall while the argmax rises; {DISPLACEMENT}: chosen falls, and with it the "
        "tokens that both responses begin with; ?: not the same sign in every seed, or after a name of one seed, an "
        "interval that holds 0"
    )
    return Table(f"{summary.suite}: by kind of pair, nats a response", head, tuple(rows), caption)


def phenomenon(group: Group) -> str:
    """What the signs of a point are called, where they are the same in every seed; of one seed with a ? where an
    interval over its probes holds 0; empty where they have no name."""
    signs = {name: value for name, value in group.metrics.items() if name not in group.unsteady}
    fallen = signs.get("delta_chosen", 0.0) < 0
    told_by = ["delta_chosen"]
    if fallen and signs.get("delta_others", 0.0) < 0 < signs.get(ARGMAX, 0.0):
        name = SQUEEZING  # Ren & Sutherland 2025
        told_by += ["delta_others", ARGMAX]
    elif fallen and signs.get("delta_shared", 0.0) < 0:
        name = DISPLACEMENT  # Razin et al. 2025
        told_by.append("delta_shared")
    else:
        return ""
    unsure = len(group.seeds) == 1 and any(
        signs.get(f"{own}_lo", -1.0) <= 0 <= signs.get(f"{own}_hi", -1.0) for own in told_by
    )
    return f"{name}?" if unsure else name


def remedies_table(summary: Summary) -> Table:
    """A row a remedy and strength: what is kept on held-out pairs, what is learned, and what else it does."""
    found = remedies(summary.remedies, summary.groups)
    metrics = [
        name for name in (PAID_FOR, *PRICES, *SIDE_EFFECTS)
        if any(name in group.metrics for remedy in found for group in remedy.strengths)
    ]  # fmt: skip
    rows = []
    for before, remedy in pairwise((None, *found)):
        if remedy is None:
            continue
        starts = before is not None and (before.model, before.dataset) != (remedy.model, remedy.dataset)
        for place, (group, front) in enumerate(zip(remedy.strengths, remedy.on_front, strict=True)):
            figures = [TableCell(with_interval(group.metrics, name), bold=front) for name in metrics]
            rows.append(row(remedy.model, remedy.dataset, remedy.name, strength(group), *figures, axes=_axes(group),
                            section=starts and place == 0))  # fmt: skip
    head = (*texts("model", "data", "remedy", "strength"), *numbers(*map(registry.title, metrics)))
    caption = f"bold: no other has as much {registry.title(PAID_FOR)} and {registry.title(PRICES[0])}, and more of one"
    return Table(f"{summary.suite}: remedies over their strength", head, tuple(rows), caption)


def _best(groups: Sequence[Group]) -> dict[tuple[str, str, str], float]:
    """The best value of every headline metric in each (model, data set)."""
    found: dict[tuple[str, str, str], float] = {}
    metrics = registry.higher_is_better()
    for group in groups:
        for name in metrics:
            if name in group.metrics:
                place = (group.model, group.dataset, name)
                found[place] = max(found.get(place, group.metrics[name]), group.metrics[name])
    return found


def _point(group: Group) -> tuple[str, str, str, str]:
    return group.model, group.dataset, group.objective, group.gate


def _axes(group: Group) -> dict[str, str]:
    return dict(zip(POINT_AXES, _point(group), strict=True))


def with_interval(metrics: Mapping[str, float], name: str) -> str:
    """A metric with half the width of its 95 % interval, "1.23 ±0.45"; without where nothing varies that one could be
    told from; empty where it is missing."""
    if name not in metrics:
        return ""
    if f"{name}_lo" not in metrics:
        return f"{metrics[name]:.2f}"
    return f"{metrics[name]:.2f} ±{(metrics[name + '_hi'] - metrics[name + '_lo']) / 2:.2f}"


def cells_table(summary: Summary, metrics: Sequence[str]) -> Table:
    """A row a cell, finished or not; metrics under the names of summary.json, for scripts that read the table."""
    rows = []
    for cell in summary.cells:
        axes = {axis: str(getattr(cell, axis)) for axis in NAME_AXES}
        values = (f"{cell.metrics[name]:.3f}" if name in cell.metrics else "" for name in metrics)
        rows.append(row(*axes.values(), *values, axes=axes))
    return Table("Every cell", (*POINT_COLUMNS, *numbers("seed", *metrics)), tuple(rows))


CONTRAST_NUMBERS = numbers("difference", "p (Holm)", "detectable", "power", "seeds")


def claims_table(summary: Summary) -> Table:
    """The verdict of every claim, then its contrasts: ours minus theirs, interval, corrected p, what was detectable.
    What its seeds vary stands below the points, which are shown with it."""
    rows: list[TableRow] = []
    for claim in summary.claims:
        told = bold(f"{claim.name}: {claim.metric} {claim.expect}")
        rows.append(row(told, bold(claim.told), "", "", "", str(claim.seeds), section=True))
        rows += [row(f"  {label}", *figures) for label, *figures in map(_contrast, claim.contrasts)]
    head = (Column("claim and contrasts", wraps=True), *CONTRAST_NUMBERS)
    return Table("claims", head, tuple(rows), _caveat(summary.claims) or None)


def _caveat(claims: Sequence[ClaimResult]) -> str:
    """What a reader has to know of the making of these claims."""
    told = [
        f"{claim.name} was made after the fact: {claim.seen} of its cells had a result when a run first met it"
        for claim in claims if claim.seen
    ]  # fmt: skip
    told += [
        f"{claim.name} was narrowed after the fact: {claim.narrowed} cells that it was about had a result when this "
        "run left them out, and count as planned" for claim in claims if claim.narrowed
    ]  # fmt: skip
    told += [
        f"{claim.name}: {claim.left_out} of the suite's cells that it is about were left out by --only, so that its "
        "verdict is of the others" for claim in claims if claim.left_out and not claim.narrowed
    ]  # fmt: skip
    return "; ".join(told)


def contrasts_table(claim: ClaimResult) -> Table:
    """The contrasts of one claim."""
    rows = tuple(row(*_contrast(contrast)) for contrast in claim.contrasts)
    return Table(f"Contrasts of {claim.name}", (*texts("contrast"), *CONTRAST_NUMBERS), rows, _caveat([claim]) or None)


def verdicts_table(summary: Summary) -> Table:
    """Every contrast that has a value, with its claim and the claim's verdict; for a page of its own, so that it says
    what the seeds vary."""
    rows = tuple(
        row(claim.name, claim.told, *_contrast(contrast)[:3])
        for claim in summary.claims for contrast in claim.contrasts if contrast.value is not None
    )  # fmt: skip
    head = (*texts("claim", "verdict", "contrast"), *numbers("difference", "p (Holm)"))
    caption = "; ".join(filter(None, [_of_seeds(summary), _caveat(summary.claims)]))
    return Table("Claims", head, rows, caption or None)


def _contrast(contrast: ContrastResult) -> tuple[str, ...]:
    """Label, difference, p, detectable, power, seeds; the label and why there is no more where there is no value."""
    if contrast.value is None:
        return (f"{contrast.label}: {contrast.reason}",)
    note = f" ({contrast.reason})" if contrast.reason else ""
    p, detectable = ("" if number is None else f"{number:.2g}" for number in (contrast.p_holm, contrast.detectable))
    return (
        f"{contrast.label}{note}", value_and_interval(contrast.value, contrast.lo, contrast.hi), p, detectable,
        "" if contrast.power is None else f"{contrast.power:.2f}", str(contrast.seeds),
    )  # fmt: skip


def gates_table(summary: Summary) -> Table:
    """Every gate over all points of the suite."""
    rows = []
    for gate in summary.gates:
        figures = [text for found in (gate.iqm, gate.improvement) for text in _value_and_bounds(found)]
        rows.append(row(gate.gate, *figures, str(gate.points), str(gate.seeds), axes={"gate": gate.gate}))
    head = numbers("Δ chosen, interquartile mean", "95 % interval", "P(better than ungated)", "95 % interval", "points",
                   "seeds")  # fmt: skip
    return Table("Every gate over all points", (*texts("gate"), *head), tuple(rows))


def _value_and_bounds(found: Bounds | None) -> tuple[str, str]:
    return ("", "") if found is None else (f"{found.value:.2f}", interval(found.lo, found.hi))


def tasks_table(summary: Summary) -> Table:
    """What each gate changes in lm-eval's metrics, paired by item."""
    rows = tuple(
        row(t.model, t.dataset, t.objective, t.gate, registry.title(t.metric), f"{t.gated:.3f}", f"{t.ungated:.3f}",
            value_and_interval(t.value, t.lo, t.hi, 3), f"{t.p_holm:.2g}", "McNemar" if t.exact else "bootstrap",
            str(t.seeds), str(t.items), axes={axis: str(getattr(t, axis)) for axis in POINT_AXES})
        for t in summary.tasks
    )  # fmt: skip
    head = (*POINT_COLUMNS, *texts("metric"), *numbers("gated", "ungated", "difference", "p (Holm)"), *texts("test"),
            *numbers("seeds", "items"))  # fmt: skip
    return Table("lm-eval: gated minus ungated, paired by item", head, rows)


def scale_table(summary: Summary) -> Table:
    """How the gate's effect depends on scale."""
    rows = tuple(
        row(s.dataset, s.objective, s.gate, value_and_interval(s.slope, s.lo, s.hi), f"{s.p:.2g}", str(len(s.models)),
            str(s.seeds), axes={"dataset": s.dataset, "objective": s.objective, "gate": s.gate})
        for s in summary.scale
    )  # fmt: skip
    title = "Δ chosen for every factor of ten in parameters: of ungated cells, and of what the gate adds"
    return Table(title, (*texts("data", "objective", "gate"), *numbers("slope", "p", "models", "seeds")), rows)


def costs_table(summary: Summary) -> Table:
    """Seconds and tokens by stage kind; a stage that cells share counts once."""
    records = {record.key: (kind, record) for cell in summary.cells for kind, record in cell.stages.items()}
    rows = []
    for kind in kinds():
        own = [record for of, record in records.values() if of == kind]
        if own:
            seconds, tokens = sum(r.seconds or 0 for r in own), sum(r.tokens or 0 for r in own)
            rows.append(row(kind, str(len(own)), f"{seconds:.1f}", str(tokens)))
    return Table("Cost", (*texts("stage"), *numbers("made", "seconds", "tokens")), tuple(rows))
