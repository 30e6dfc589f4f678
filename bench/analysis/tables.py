"""Results as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebench.bench.analysis.summary import HEADLINE, Summary
from gatebench.bench.plan.graph import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from rich.table import Table

    from gatebench.bench.analysis.aggregates import Group
    from gatebench.bench.analysis.comparison import Agreement, Difference, Published
    from gatebench.bench.analysis.samples import Sample
    from gatebench.bench.cost.estimate import Cost, SuiteCost
    from gatebench.bench.tune.search import Searched

TITLES = {
    "delta_chosen": "Δ chosen", "delta_rejected": "Δ rejected", "margin": "margin",
    "delta_others": "Δ others", "accuracy": "accuracy", "delta_argmax": "Δ argmax",
    "delta_argmax_per_token": "Δ argmax a token", "kl": "KL", "generation_pass_rate": "pass rate",
    "judge_vs_warmup_win_rate": "wins v. warm-up", "judge_vs_ungated_win_rate": "wins v. ungated",
}  # fmt: skip
ANSWERS = ("generation_pass_rate", "judge_vs_warmup_win_rate", "judge_vs_ungated_win_rate")  # where the suite has them
HIGHER_IS_BETTER = ("delta_chosen", "margin", "delta_others", "accuracy", *ANSWERS)
ONE_SEED = "one seed: how far runs differ between seeds is not in these intervals"
MOST_CELLS = 100  # listed on the terminal; --json has all


def plan_tables(plan: Plan, finished: Set[str], found: SuiteCost) -> list[Table]:
    """The cells with what is finished of each, how many stages they share, and what is left to pay."""
    from rich.table import Table

    kinds = list(dict.fromkeys(node.kind for node in plan.nodes.values()))
    left = len(plan.cells) - MOST_CELLS
    cells = Table(
        title=f"{plan.suite}: {len(plan.cells)} cells",
        caption=f"and {left} more cells; --json lists all" if left > 0 else None,
    )
    for name in ("cell", *kinds):
        cells.add_column(name, no_wrap=True)
    cells.add_column("whole cell", justify="right", no_wrap=True)
    for cell in plan.cells[:MOST_CELLS]:
        marks = [
            "-" if k not in cell.stages else "finished" if cell.stages[k] in finished else "would run" for k in kinds
        ]
        cells.add_row(cell.id, *marks, duration(found.cells[cell.id].seconds))
    stages = Table(title="stages, shared between cells")
    for name in ("stage", "in all", "finished", "would run", "tokens", "FLOPs", "memory", "disk", "one worker"):
        stages.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for kind in kinds:
        keys = [key for key, node in plan.nodes.items() if node.kind == kind]
        done = sum(key in finished for key in keys)
        stages.add_row(kind, str(len(keys)), str(done), str(len(keys) - done), *_amounts(found.by_kind.get(kind)))
    stages.add_section()
    stages.add_row("in all", str(len(plan.nodes)), str(len(finished)), str(len(plan.nodes) - len(finished)),
                   *_amounts(found.in_all))  # fmt: skip
    return [cells, stages]


def _amounts(cost: Cost | None) -> list[str]:
    if cost is None or (cost.seconds == 0 and not cost.tokens):
        return [""] * 5
    most = "" if cost.measured else "≤ "
    sizes = [f"{value / 1e9:.2f} GB" if value else "" for value in (cost.memory, cost.disk)]
    return [f"{most}{cost.tokens:.2g}", f"{most}{cost.flops:.1e}", *sizes, duration(cost.seconds)]


def duration(seconds: float | None) -> str:
    """Seconds as a reader would say them; "?" where nothing like it was timed."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def results_table(summary: Summary) -> Table:
    """A row a point of the suite, meaned over its seeds, with 95 % intervals; in each (model, data set) the best
    value of a column is bold. Cells without a result follow, with their status."""
    from rich.table import Table

    table = Table(title=f"{summary.suite}: change of log-probs on training probes, nats a response")
    for name in ("model", "data", "objective", "gate"):
        table.add_column(name, no_wrap=True)
    table.add_column("seeds", justify="right")
    shown = [*HEADLINE, *(name for name in ANSWERS if any(name in group.metrics for group in summary.groups))]
    for name in shown:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    best: dict[tuple[str, str, str], float] = {}
    for group in summary.groups:
        for name in HIGHER_IS_BETTER:
            if name in group.metrics:
                place = (group.model, group.dataset, name)
                best[place] = max(best.get(place, group.metrics[name]), group.metrics[name])
    before = None
    for group in summary.groups:
        if before not in (None, (group.model, group.dataset)):
            table.add_section()
        before = (group.model, group.dataset)
        values = []
        for name in shown:
            text = with_interval(group.metrics, name)
            is_best = text and best.get((group.model, group.dataset, name)) == group.metrics[name]
            values.append(f"[bold]{text}[/bold]" if is_best else text)
        table.add_row(group.model, group.dataset, group.objective, group.gate, str(len(group.seeds)), *values)
    unfinished = [cell for cell in summary.cells if cell.status != "finished"]
    if unfinished:
        table.add_section()
    for cell in unfinished:
        table.add_row(
            cell.model, cell.dataset, cell.objective, cell.gate, f"[red]{cell.status}: seed {cell.seed}[/red]"
        )
    return table


def with_interval(metrics: Mapping[str, float], name: str) -> str:
    """A metric with half the width of its 95 % interval, "1.23 ±0.45"; empty where it is missing."""
    if name not in metrics:
        return ""
    return f"{metrics[name]:.2f} ±{(metrics[name + '_hi'] - metrics[name + '_lo']) / 2:.2f}"


def claims_table(summary: Summary) -> Table:
    """The verdict of every claim, then its contrasts: ours minus theirs, interval, corrected p, what was detectable."""
    from rich.table import Table

    table = Table(title="claims", caption=ONE_SEED if any(claim.seeds == 1 for claim in summary.claims) else None)
    table.add_column("claim and contrasts", overflow="fold")
    for name in ("difference", "p (Holm)", "detectable", "power", "seeds"):
        table.add_column(name, justify="right", no_wrap=True)
    for claim in summary.claims:
        table.add_section()
        table.add_row(f"[bold]{claim.name}[/bold]: {claim.metric} {claim.expect}", f"[bold]{claim.verdict}[/bold]",
                      "", "", "", str(claim.seeds))  # fmt: skip
        for contrast in claim.contrasts:
            if contrast.value is None:
                table.add_row(f"  {contrast.label}: {contrast.reason}")
                continue
            figures = [
                f"{contrast.value:.2f} \\[{contrast.lo:.2f}, {contrast.hi:.2f}]", f"{contrast.p_holm:.2g}",
                f"{contrast.detectable:.2g}", "" if contrast.power is None else f"{contrast.power:.2f}",
            ]  # fmt: skip
            note = f" ({contrast.reason})" if contrast.reason else ""
            table.add_row(f"  {contrast.label}{note}", *figures, str(contrast.seeds))
    return table


def scale_table(summary: Summary) -> Table:
    """How the gate's effect depends on scale."""
    from rich.table import Table

    table = Table(title="Δ chosen for every factor of ten in parameters: of ungated cells, and of what the gate adds")
    for name in ("data", "objective", "gate"):
        table.add_column(name, no_wrap=True)
    for name in ("slope", "p", "models", "seeds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.scale:
        table.add_row(
            row.dataset, row.objective, row.gate, f"{row.slope:.2f} \\[{row.lo:.2f}, {row.hi:.2f}]", f"{row.p:.2g}",
            str(len(row.models)), str(row.seeds),
        )  # fmt: skip
    return table


def differences_table(rows: Sequence[Difference]) -> Table:
    """Two runs at the points that both have."""
    from rich.table import Table

    table = Table(title="second run minus first, nats a response")
    for name in ("model", "data", "objective", "gate", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("first", "second", "difference", "p (Holm)", "seeds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.model, row.dataset, row.objective, row.gate, TITLES[row.metric], f"{row.ours:.2f}",
            f"{row.theirs:.2f}", f"{row.value:.2f} \\[{row.lo:.2f}, {row.hi:.2f}]", f"{row.p_holm:.2g}",
            str(row.seeds),
        )  # fmt: skip
    return table


def published_table(groups: Sequence[Group], published: Sequence[Published], metric: str) -> Table:
    """A metric of our models beside theirs, a row a method; ours with half the width of the interval."""
    from rich.table import Table

    table = Table(title=f"{TITLES[metric]}: ours with 95 % intervals, then the published figures")
    for name in ("objective", "gate"):
        table.add_column(name, no_wrap=True)
    ours, theirs = list(dict.fromkeys(g.model for g in groups)), list(dict.fromkeys(p.model for p in published))
    for name in [*ours, *(f"published {name}" for name in theirs)]:
        table.add_column(name, justify="right")
    left = {(g.model, g.objective, g.gate): with_interval(g.metrics, metric) for g in groups}
    right = {(p.model, p.objective, p.gate): p.metrics.get(metric) for p in published}
    for method in dict.fromkeys((objective, gate) for _, objective, gate in (*left, *right)):
        figures = [right.get((name, *method)) for name in theirs]
        table.add_row(
            *method, *(left.get((name, *method), "") for name in ours),
            *("" if figure is None else f"{figure:.2f}" for figure in figures),
        )  # fmt: skip
    return table


def agreement_table(rows: Sequence[Agreement]) -> Table:
    """Where the signs and the order of the methods agree."""
    from rich.table import Table

    table = Table(title="agreement over the methods of both (a method is an objective with a gate)")
    for name in ("metric", "ours", "published"):
        table.add_column(name, no_wrap=True)
    for name in ("same sign", "gate moves it the same way", "rank correlation"):
        table.add_column(name, justify="right")
    for row in rows:
        rank = "" if row.rank is None else f"{row.rank:.2f}"
        table.add_row(TITLES[row.metric], row.ours, row.theirs, f"{row.signs} of {row.methods}",
                      f"{row.effects} of {row.gated}", rank)  # fmt: skip
    return table


def samples_table(text: str, samples: Sequence[Sample]) -> Table:
    """A prompt and the answers to it; model output is shown as it is, never as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(text), show_lines=True)
    for name in ("cell", "answer", "ended", "right"):
        table.add_column(name, overflow="fold")
    for sample in samples:
        right = "" if sample.passed is None else "yes" if sample.passed else "no"
        table.add_row(Text(sample.who), Text(sample.response), sample.finish_reason, right)
    return table


def study_table(study: Searched) -> Table:
    """The trials that no other one beats, on tuning probes; the recommended one is bold."""
    from rich.table import Table

    now = study.counts
    table = Table(title=f"{study.name}: {now.done} trials, {now.pruned} pruned; the front, on tuning probes")
    names, metrics = list(study.best.parameters), list(study.best.metrics)
    table.add_column("trial", justify="right")
    for name in (*names, *metrics):
        table.add_column(TITLES.get(name, name), justify="right", no_wrap=True)
    for number, parameters, values in sorted(study.front, key=lambda row: -row[2][study.maximize[0]]):
        shown = [
            str(number),
            *(f"{parameters.get(name, '')}" for name in names),
            *(f"{values[m]:.2f}" for m in metrics),
        ]
        table.add_row(*shown, style="bold" if number == study.best.number else None)
    if not study.best.feasible:
        table.caption = "no trial keeps subject_to; the recommended one is of all"
    return table
