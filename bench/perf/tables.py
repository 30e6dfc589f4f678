"""The figures of `bench perf` as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebench.bench.analysis.tables import duration
from gatebench.bench.perf.checks import LARGE_VOCABULARY
from gatebench.bench.perf.engine import CHECKPOINTS, PROMPTS
from gatebench.bench.perf.trainers import DEFAULT, OURS, STEPS

if TYPE_CHECKING:
    from rich.table import Table

    from gatebench.bench.perf.session import Figures


def perf_tables(figures: Figures) -> list[Table]:
    """One table a part that was measured."""
    tables = []
    if figures.steps:
        tables += [_steps(figures), _parts(figures)]
    if figures.checks:
        tables += [_losses(figures), _memory(figures)]
    if figures.suites:
        tables.append(_suites(figures))
    if figures.harness:
        tables.append(_harness(figures))
    if figures.engines:
        tables.append(_engines(figures))
    return tables


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left")
    return table


def _steps(figures: Figures) -> Table:
    table = _table(
        f"a training step on {figures.data}, up to 512 tokens, on {figures.machine}",
        "model", "parameters", "pairs", "TRL's default", "TRL, reference precomputed", "… without checkpointing",
        "gatebench", "gatebench, packed", "× default", "× precomputed", "× without", "× packed", "tokens/s",
        "of the peak",
    )  # fmt: skip
    for name, found in figures.steps.items():
        keys = found.to_json()
        ratios = [f"{keys[f'step.vs_{key}']:.2f}" for key in found.seconds if key != OURS]
        table.add_row(
            name, f"{found.parameters / 1e6:.1f}M", f"{found.pairs}, {found.dtype}",
            *(f"{seconds * 1000:.0f} ms" for seconds in found.seconds.values()), *ratios,
            f"{found.tokens_per_second:,.0f}", f"{found.share_of_peak:.0%}",
        )  # fmt: skip
    return table


def _memory(figures: Figures) -> Table:
    table = _table("memory of a step beyond weights and optimizer, largest sum of live tensors",
                   "model", "vocabulary", "TRL's default", "gatebench", "ratio")  # fmt: skip
    for name, found in figures.checks.items():
        for vocabulary, needs in (("its own", found.memory), (f"{LARGE_VOCABULARY:,}", found.memory_large_vocabulary)):
            table.add_row(name, vocabulary, f"{needs[DEFAULT] / 1e6:,.0f} MB", f"{needs[OURS] / 1e6:,.0f} MB",
                          f"{needs[OURS] / needs[DEFAULT]:.2f}")  # fmt: skip
    return table


def _parts(figures: Figures) -> Table:
    names = list(next(iter(figures.steps.values())).breakdown)
    table = _table("where the time of gatebench's step goes", "model", *names)
    for model, found in figures.steps.items():
        whole = sum(found.breakdown.values())
        table.add_row(model, *(f"{part * 1000:.0f} ms, {part / whole:.0%}" for part in found.breakdown.values()))
    return table


def _losses(figures: Figures) -> Table:
    table = _table(f"largest difference of a step's loss from TRL's, over {STEPS} steps", "objective", *figures.checks)
    for name in next(iter(figures.checks.values())).loss_differences:
        table.add_row(name, *(f"{found.loss_differences[name]:.1e}" for found in figures.checks.values()))
    return table


def _suites(figures: Figures) -> Table:
    table = _table(f"16 cells: warm-up, training and dynamics, on {figures.machine}",
                   "model", "a TRL process a cell", "gatebench", "ratio")  # fmt: skip
    for name, (ours, theirs) in figures.suites.items():
        table.add_row(name, duration(theirs), duration(ours), f"{theirs / ours:.2f}")
    return table


def _harness(figures: Figures) -> Table:
    table = _table("the harness itself", "what", "seconds", "to reach")
    for figure in figures.harness:
        table.add_row(figure.what, f"{figure.seconds:.3g}", f"{figure.limit:g}")
    return table


def _engines(figures: Figures) -> Table:
    table = _table(
        f"vLLM, {CHECKPOINTS} checkpoints, {PROMPTS} prompts each, on {figures.machine}", "model",
        "first checkpoint", "each further one", "all, one engine", "all, an engine each", "ratio",
        "same tokens as fresh", "as transformers",
    )  # fmt: skip
    asked = CHECKPOINTS * PROMPTS
    for name, found in figures.engines.items():
        keys = found.to_json()
        table.add_row(
            name, f"{found.reused[0]:.1f} s", f"{keys['engine.second_vs_first'] * found.reused[0]:.1f} s",
            f"{sum(found.reused):.0f} s", f"{sum(found.fresh):.0f} s", f"{keys['engine.vs_fresh_engines']:.2f}",
            f"{found.same_as_fresh} of {asked}", f"{found.same_as_transformers} of {asked}",
        )  # fmt: skip
    return table
