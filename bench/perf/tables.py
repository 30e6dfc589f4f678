"""The figures of `bench perf` as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gatebench.bench.analysis.table import Column, Table, row
from gatebench.bench.console import duration
from gatebench.bench.perf.checks import LARGE_VOCABULARY
from gatebench.bench.perf.engine import ANSWERED_PROMPTS, SERVED_CHECKPOINTS
from gatebench.bench.perf.trainers import DEFAULT, OURS, STEPS

if TYPE_CHECKING:
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


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    columns = tuple(Column(name, right=bool(place), wraps=True) for place, name in enumerate(head))
    return Table(title, columns, tuple(row(*cells) for cells in rows))


def _steps(figures: Figures) -> Table:
    head = (
        "model", "parameters", "pairs", "TRL's default", "TRL, reference precomputed", "… without checkpointing",
        "gatebench", "gatebench, packed", "× default", "× precomputed", "× without", "× packed", "tokens/s",
        "of the peak",
    )  # fmt: skip
    rows = []
    for name, found in figures.steps.items():
        keys = found.to_json()
        ratios = [f"{keys[f'step.vs_{key}']:.2f}" for key in found.seconds if key != OURS]
        rows.append((
            name, f"{found.parameters / 1e6:.1f}M", f"{found.pairs}, {found.dtype}",
            *(f"{seconds * 1000:.0f} ms" for seconds in found.seconds.values()), *ratios,
            f"{found.tokens_per_second:,.0f}", f"{found.share_of_peak:.0%}",
        ))  # fmt: skip
    return _table(f"a training step on {figures.data}, up to 512 tokens, on {figures.machine}", head, rows)


def _memory(figures: Figures) -> Table:
    rows = [
        (name, vocabulary, f"{needs[DEFAULT] / 1e6:,.0f} MB", f"{needs[OURS] / 1e6:,.0f} MB",
         f"{needs[OURS] / needs[DEFAULT]:.2f}")
        for name, found in figures.checks.items()
        for vocabulary, needs in (("its own", found.memory), (f"{LARGE_VOCABULARY:,}", found.memory_large_vocabulary))
    ]  # fmt: skip
    title = "memory of a step beyond weights and optimizer, largest sum of live tensors"
    return _table(title, ("model", "vocabulary", "TRL's default", "gatebench", "ratio"), rows)


def _parts(figures: Figures) -> Table:
    parts = {model: found.breakdown for model, found in figures.steps.items()}
    rows = [
        (model, *(f"{part * 1000:.0f} ms, {part / sum(found.values()):.0%}" for part in found.values()))
        for model, found in parts.items()
    ]
    return _table("where the time of gatebench's step goes", ("model", *next(iter(parts.values()))), rows)


def _losses(figures: Figures) -> Table:
    found = [checked.loss_differences for checked in figures.checks.values()]
    rows = [(name, *(f"{differences[name]:.1e}" for differences in found)) for name in found[0]]
    title = f"largest difference of a step's loss from TRL's, over {STEPS} steps"
    return _table(title, ("objective", *figures.checks), rows)


def _suites(figures: Figures) -> Table:
    rows = [
        (name, duration(theirs), duration(ours), f"{theirs / ours:.2f}")
        for name, (ours, theirs) in figures.suites.items()
    ]
    title = f"16 cells: warm-up, training and dynamics, on {figures.machine}"
    return _table(title, ("model", "a TRL process a cell", "gatebench", "ratio"), rows)


def _harness(figures: Figures) -> Table:
    rows = [(figure.what, f"{figure.seconds:.3g}", f"{figure.limit:g}") for figure in figures.harness]
    return _table("the harness itself", ("what", "seconds", "to reach"), rows)


def _engines(figures: Figures) -> Table:
    asked = SERVED_CHECKPOINTS * ANSWERED_PROMPTS
    rows = []
    for name, found in figures.engines.items():
        keys = found.to_json()
        rows.append((
            name, f"{found.reused[0]:.1f} s", f"{keys['engine.second_vs_first'] * found.reused[0]:.1f} s",
            f"{sum(found.reused):.0f} s", f"{sum(found.fresh):.0f} s", f"{keys['engine.vs_fresh_engines']:.2f}",
            f"{found.same_as_fresh} of {asked}", f"{found.same_as_transformers} of {asked}",
        ))  # fmt: skip
    head = (
        "model", "first checkpoint", "each further one", "all, one engine", "all, an engine each", "ratio",
        "same tokens as fresh", "as transformers",
    )  # fmt: skip
    title = f"vLLM, {SERVED_CHECKPOINTS} checkpoints, {ANSWERED_PROMPTS} prompts each, on {figures.machine}"
    return _table(title, head, rows)
