"""What the harness itself costs: planning, overhead, logging, a finished suite run again, a report, intervals; and what
an executor costs a stage."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatebench.bench.analysis.statistics import RESAMPLES, draws, intervals
from gatebench.bench.analysis.summary import Summary
from gatebench.bench.console import PLAIN
from gatebench.bench.cost.estimate import estimate_cost
from gatebench.bench.executors.api import Event, Finished, Resources
from gatebench.bench.executors.loop import execute
from gatebench.bench.executors.registry import LOCAL, make_executor
from gatebench.bench.machine import this_machine
from gatebench.bench.perf import noop
from gatebench.bench.plan.graph import Plan
from gatebench.bench.run import suite_run
from gatebench.bench.run.prepare import prepare
from gatebench.bench.store.store import Store
from gatebench.bench.tracking.entries import cell_entry
from gatebench.bench.tracking.tracker import deliver

if TYPE_CHECKING:
    from rich.console import Console

OVERHEAD_SUITE = """name: overhead
models: [builtin:ladder/neox-0.3m]
datasets: [{{name: toolbox, path: builtin:toolbox, train: 10, test: 10}}]
objectives: [dpo, ipo, cal_dpo, dpo_shift, extended_sft]
gates: [none, {{kind: seq, alpha: 100, tau: q50}}]
seeds: [{seeds}]
train: {{steps: 20, evaluate_every: 10}}
evaluate: {{dynamics: {{probes: {probes}}}}}
"""
CELLS_A_SEED = 10
NO_WORK = suite_run.Manner(run_of=noop.run_of)
FEW_PROBES, PROBES_OF_A_REPORT = 8, 200


@dataclass(frozen=True)
class HarnessFigure:
    """One figure: what was done, the seconds it took, and the number of the design to reach."""

    what: str
    seconds: float
    limit: float


def measure(
    err: Console, planned: int = 10_000, cells: int = 1_000, logged: int = 50, reported: int = 200
) -> Iterator[HarnessFigure]:
    """The figures, one after another; the suites are made in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        prepared = _prepared(Path(folder), planned)
        estimate_cost(prepared.plan, prepared.store.finished_among(prepared.plan.addresses), [], this_machine())
        yield HarnessFigure(f"plan of {len(prepared.plan.cells)} cells", time.monotonic() - started, 3.0)
        prepared = _prepared(Path(folder), cells)
        first = suite_run.run(prepared, err, NO_WORK)
        yield HarnessFigure(f"overhead a cell, over {cells} cells without work", first.seconds / cells, 0.5)
        started = time.monotonic()
        suite_run.run(_prepared(Path(folder), cells), err, NO_WORK)
        yield HarnessFigure(f"a finished suite of {cells} cells run again", time.monotonic() - started, 5.0)
        yield HarnessFigure("logging a cell to MLflow on sqlite", _logging(prepared, first.summary, logged), 0.2)
        prepared = _prepared(Path(folder), reported, PROBES_OF_A_REPORT)
        suite_run.run(prepared, err, NO_WORK)
        started = time.monotonic()
        suite_run.build(prepared)
        what = f"the report of {reported} cells with {PROBES_OF_A_REPORT} probes each"
        yield HarnessFigure(what, time.monotonic() - started, 20.0)
    values = np.random.default_rng(0).normal(size=(1_000, 1, 500))
    started = time.monotonic()
    intervals(draws(values))
    yield HarnessFigure(
        f"intervals of 1,000 cells x 500 probes from {RESAMPLES:,} resamples", time.monotonic() - started, 30.0
    )


def measure_ray(err: Console, cells: int = 20) -> Iterator[HarnessFigure]:
    """What a stage without work takes on one worker here and on one of a Ray cluster that is started for it.

    Raises UserError where Ray is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan = _prepared(Path(folder), cells).plan
        for executor, address in ((LOCAL, None), ("ray", "local")):
            err.print(f"{len(plan.nodes)} stages without work on executor {executor}", **PLAIN)
            place = Path(folder) / executor
            seconds = _seconds_a_stage(plan, place, executor, Resources(1, 1, 0, place / "logs", address=address))
            yield HarnessFigure(f"a stage without work, of {len(plan.nodes)}, on executor {executor}", seconds, 0.5)


def _seconds_a_stage(plan: Plan, folder: Path, name: str, resources: Resources) -> float:
    """From the end of the first one, so that no start of a process counts."""
    ends: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, Finished):
            ends.append(time.monotonic())

    executor = make_executor(resources, name, noop.run_of)
    try:
        execute(plan, Store(folder / "store"), executor, listen)
    finally:
        executor.close()
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def _logging(prepared: suite_run.Prepared, summary: Summary, count: int) -> float:
    """Seconds a cell, after a first one for which the database is made."""
    plan, store, folder = prepared.plan, prepared.store, prepared.results / "logged"
    folder.mkdir()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    first, *entries = [cell_entry(cell, plan, "run", store) for cell in summary.cells[: count + 1]]
    deliver([first], folder, uri, lambda said: None)
    started = time.monotonic()
    deliver(entries, folder, uri, lambda said: None)
    return (time.monotonic() - started) / len(entries)


def _prepared(folder: Path, cells: int, probes: int = FEW_PROBES) -> suite_run.Prepared:
    file = folder / f"{cells}-{probes}.yaml"
    seeds = ", ".join(map(str, range(cells // CELLS_A_SEED)))
    file.write_text(OVERHEAD_SUITE.format(seeds=seeds, probes=probes), encoding="utf-8")
    return prepare(file, None, folder / "results", None, None)
