"""The workers that run trials, of any executor, and the parent that watches the study until its budget is used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gatebench.bench.errors import DiskFull
from gatebench.bench.executors.api import Failed, OutOfDisk, Progressed, Resources
from gatebench.bench.executors.progress import SECONDS_BETWEEN_LINES
from gatebench.bench.executors.registry import make_executor
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages.stage import Facts, Report, Run
from gatebench.bench.tune.records import Counts, Task
from gatebench.bench.tune.study import counts, open_study, quiet_optuna
from gatebench.bench.tune.trial import Runner, Surplus
from gatebench.bench.tune.winner import winner

if TYPE_CHECKING:
    import optuna
    from rich.console import Console

TRIALS = "trials"  # what an executor takes for the kind of a stage: one goes on until the study has its budget
SECONDS_BETWEEN_CHECKS = 1.0
MOST_RESTARTS = 5


def work(task: Task, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """Run trials until the study has its budget."""
    quiet_optuna()
    study, runner = open_study(task), Runner(task, report)
    until = time.monotonic() + task.tune.hours * 3600 if task.tune.hours else None
    while (until is None or time.monotonic() < until) and not _is_over(study, task):
        study.optimize(runner, n_trials=1, catch=(Surplus,))
    return {}


def run_of_trials(kind: str) -> Run:
    return work


def _is_over(study: optuna.Study, task: Task) -> bool:
    """Wait while the rest of the budget runs elsewhere; a trial whose process is gone comes back as a waiting one."""
    import optuna

    while True:
        optuna.storages.fail_stale_trials(study)
        now = counts(study)
        if now.done >= task.tune.trials:
            return True
        if now.waiting or now.done + now.running < task.tune.trials:
            return False
        time.sleep(SECONDS_BETWEEN_CHECKS)


def run_trials(task: Task, err: Console, resources: Resources, executor: str) -> Counts:
    """Have the study's budget done by as many workers as the resources say; one that fails is replaced.

    Raises DiskFull where a trial cannot write what it made.
    """
    study = open_study(task)
    workers = make_executor(resources, executor, run_of_trials)
    waiting = [Node(TRIALS, task, (), str(index)) for index in range(resources.workers)]
    running, restarts = 0, 0
    try:
        # a folder of its own: other processes that share the study may share the results too
        own = TemporaryDirectory(prefix=f"{TRIALS}-", dir=resources.logs, ignore_cleanup_errors=True)
        with own as folder, _Bar(task, study, err) as bar:
            while running or waiting:
                while waiting and workers.has_room():
                    place = Path(folder, waiting[0].key)
                    place.mkdir(exist_ok=True)
                    workers.start(waiting.pop(0), place, {})
                    running += 1
                bar.show()
                for told in workers.results():
                    if isinstance(told, OutOfDisk):
                        raise DiskFull(task.store)
                    if isinstance(told, Progressed):
                        continue
                    running -= 1
                    if isinstance(told, Failed) and restarts < MOST_RESTARTS:
                        restarts += 1
                        waiting.append(told.node)
    finally:
        workers.close()
    return counts(study)


class _Bar:
    """Trials done, pruned, best so far and time left: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, task: Task, study: optuna.Study, err: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.task, self.study, self.err = task, study, err
        self.bar = Progress(
            TextColumn("trials"), BarColumn(), TextColumn("{task.description}"), console=err, transient=True
        )
        self.started, self.before, self.line = time.monotonic(), counts(study).done, 0.0
        self.looked = 0.0

    def __enter__(self) -> _Bar:
        if self.err.is_terminal:
            self.bar.start()
        self.id = self.bar.add_task("starting", total=self.task.tune.trials, completed=self.before)
        return self

    def __exit__(self, *_: object) -> None:
        if self.err.is_terminal:
            self.bar.stop()

    def show(self) -> None:
        from gatebench.bench.console import PLAIN

        if time.monotonic() - self.looked < SECONDS_BETWEEN_CHECKS:
            return
        self.looked = time.monotonic()
        now = counts(self.study)
        text = self._text(now)
        if self.err.is_terminal:
            self.bar.update(self.id, completed=now.done, description=text)
        elif time.monotonic() - self.line > SECONDS_BETWEEN_LINES:
            self.line = time.monotonic()
            self.err.print(text, **PLAIN)

    def _text(self, now: Counts) -> str:
        from gatebench.bench.console import duration

        tune = self.task.tune
        done, made = now.done, now.done - self.before
        pace = (time.monotonic() - self.started) / made if made else None
        left = f"about {duration(pace * (tune.trials - done))} left" if pace is not None else "time left: measuring"
        best = winner(self.study, tune)
        shown = ", ".join(f"{name} {best.metrics[name]:.2f}" for name in tune.maximize) if best else "none yet"
        return f"trials {done}/{tune.trials}, {now.pruned} pruned, best: {shown}, {left}"
