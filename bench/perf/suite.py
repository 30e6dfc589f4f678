"""A suite of 16 cells through the harness against a stock TRL process a cell, with equally many at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gatebench.bench.cost.workers import workers_of
from gatebench.bench.data.source import TOOLBOX, DataSource
from gatebench.bench.errors import UserError
from gatebench.bench.perf.step import Tick
from gatebench.bench.perf.stock_trl import StockCell
from gatebench.bench.perf.trainers import make_work
from gatebench.bench.run import suite_run
from gatebench.bench.run.prepare import prepare

if TYPE_CHECKING:
    from rich.console import Console

SUITE = """name: perf
models: [{{name: policy, path: {policy}}}]
datasets: [{{name: data, path: "{data}", train: 500, test: 50}}]
objectives: [dpo, ipo]
gates: [none, {{kind: seq, alpha: 5/tau, tau: q75}}]
seeds: [0, 1, 2, 3]
warmup: {{epochs: 1, learning_rate: 2e-5, batch_size: 8}}
train:
  {{steps: 60, batch_size: 8, learning_rate: 1e-6, max_length: 512, evaluate_every: 20, optimizer: adamw_torch}}
evaluate: {{dynamics: {{probes: 50}}}}
"""
CELL_LOSSES = ("sigmoid", "ipo")
WAVES = 2  # of stock processes
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def measure(model: str, data: DataSource, err: Console, tick: Tick) -> tuple[float, float]:
    """(seconds of our 16 cells, seconds of 16 stock processes), as many at a time.

    Only WAVES times as many stock processes run as there are workers, and their time is multiplied: each is the same
    work, and nothing of it is shared. The policy has random weights: a base model is made once on either side.
    """
    with TemporaryDirectory() as folder:
        work = make_work(model, data, Path(folder))
        file = Path(folder) / "perf.yaml"
        file.write_text(SUITE.format(policy=work.policy, data=_absolute(data.path)), encoding="utf-8")
        prepared = prepare(file, None, Path(folder) / "results", None, None)
        tick("the suite of 16 cells")
        done = suite_run.run(prepared, err)
        if done.outcome.failed:
            raise UserError("the suite failed: " + next(iter(done.outcome.failed.values())).message)
        train = next(node.spec.recipe for node in prepared.plan.nodes.values() if node.kind == "train")
        (source,) = prepared.sources.datasets.values()
        count, divided = len(prepared.plan.cells), workers_of(prepared.plan)
        cells = [
            StockCell(str(work.policy), source, CELL_LOSSES[number % len(CELL_LOSSES)], number,
                      train.steps or 0, train.evaluate_every, train.batch_size, train.max_length)
            for number in range(min(count, WAVES * divided[0]))
        ]  # fmt: skip
        tick(f"{len(cells)} cells with nothing but TRL")
        return done.seconds, _processes(cells, *divided[:2], Path(folder) / "stock") * count / len(cells)


def _processes(cells: Sequence[StockCell], workers: int, threads: int, folder: Path) -> float:
    """Seconds that the cells take, as many processes at a time as the harness has workers, with as many threads."""
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    started = time.monotonic()
    for at in range(0, len(cells), workers):
        running = []
        for number, cell in enumerate(cells[at : at + workers], at):
            command = [sys.executable, "-m", "gatebench.bench.perf.stock_trl", str(cell.write(folder / str(number)))]
            log = (folder / str(number) / "log").open("w")
            running.append((subprocess.Popen(command, env=environment, stdout=log, stderr=log), log))  # noqa: S603
        for process, log in running:
            if process.wait():
                raise UserError(f"a stock TRL process failed: {Path(log.name).read_text().strip().splitlines()[-1]}")
            log.close()
    return time.monotonic() - started


def _absolute(path: str) -> str:
    return path if path == TOOLBOX else str(Path(path).resolve())
