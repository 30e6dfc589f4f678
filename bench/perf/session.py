"""All that `bench perf` measures, in one run on one machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gatebench.bench.console import PLAIN, duration
from gatebench.bench.data.source import TOOLBOX, DataSource, data_content_of
from gatebench.bench.engines import vllm
from gatebench.bench.errors import UserError
from gatebench.bench.executors.progress import SECONDS_BETWEEN_LINES
from gatebench.bench.keys import Json
from gatebench.bench.machine import default_workers, this_machine
from gatebench.bench.models import ladder
from gatebench.bench.perf import checks, engine, harness, step, suite
from gatebench.bench.perf.trainers import HALF_BILLION, make_work
from gatebench.bench.stages.stage import library_versions
from gatebench.objectives.names import UnknownWord

if TYPE_CHECKING:
    from rich.console import Console

PARTS = ("step", "suite", "harness", "checks", "engine", "ray")
DEFAULT_PARTS = PARTS[:4]  # the others need vLLM and Ray
MODELS = ("llama-1.3m", "neox-1.3m", "qwen-1.3m", "llama-10m")
PROBES_A_SPLIT = 50


@dataclass(frozen=True)
class Figures:
    """By model; suites: (seconds of our 16 cells, seconds of 16 stock TRL processes)."""

    machine: str
    data: str
    steps: Mapping[str, step.StepFigures] = field(default_factory=dict)
    checks: Mapping[str, checks.CheckFigures] = field(default_factory=dict)
    suites: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    harness: Sequence[harness.HarnessFigure] = ()
    engines: Mapping[str, engine.EngineFigures] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        models: dict[str, dict[str, float]] = {name: found.to_json() for name, found in self.steps.items()}
        for name, checked in self.checks.items():
            models.setdefault(name, {}).update(checked.to_json())
        for name, (ours, theirs) in self.suites.items():
            models.setdefault(name, {})["suite.vs_trl_processes"] = theirs / ours
        for name, served in self.engines.items():
            models.setdefault(name, {}).update(served.to_json())
        return {
            "machine": self.machine,
            "data": self.data,
            "libraries": library_versions(),
            "models": models,
            "steps": {name: asdict(found) for name, found in self.steps.items()},
            "checks": {name: asdict(found) for name, found in self.checks.items()},
            "suites": {name: {"gatebench": ours, "trl": theirs} for name, (ours, theirs) in self.suites.items()},
            "harness": [asdict(figure) for figure in self.harness],
            "engines": {name: asdict(found) for name, found in self.engines.items()},
        }


def measure_parts(parts: Sequence[str], models: Sequence[str], data: str, err: Console) -> Figures:
    """What is timed comes first, for all models. Raises UserError for an unknown part or model and for data that are
    not there.

    Of `suite`, the first model alone is measured, as it takes a quarter of an hour.
    """
    import torch

    _check(parts, PARTS, "part of bench perf")
    if "engine" in parts and vllm.installed() is None:
        raise UserError("bench perf engine: vLLM is not installed here; `make vllm` installs it")
    paths = [m if m == HALF_BILLION else ladder.PREFIX + m.removeprefix(ladder.PREFIX) for m in models]
    _check(paths, (*ladder.NAMES, HALF_BILLION), "built-in model")
    if HALF_BILLION in paths and (list(parts) != ["step"] or not torch.cuda.is_available()):
        raise UserError(f"bench perf: {HALF_BILLION} is for the part step alone, on a machine with a GPU")
    source = data_source(data)
    torch.set_num_threads(default_workers()[1])
    names = {path.removeprefix(ladder.PREFIX): path for path in paths}
    first = next(iter(names))
    figures = Figures(this_machine().name, Path(data).name)
    with TemporaryDirectory() as folder:
        needed = names if {"step", "checks"} & set(parts) else {}
        works = {name: make_work(path, source, Path(folder) / name) for name, path in needed.items()}
        if "step" in parts:
            with _Teller(err, len(names) * step.TICKS) as teller:
                steps = {name: step.measure(work, partial(teller, name)) for name, work in works.items()}
            figures = replace(figures, steps=steps)
        if "suite" in parts:
            found = suite.measure(names[first], source, err, lambda text: err.print(f"{first}: {text}", **PLAIN))
            figures = replace(figures, suites={first: found})
        if "harness" in parts:
            figures = replace(figures, harness=list(harness.measure(err)))
        if "ray" in parts:
            figures = replace(figures, harness=[*figures.harness, *harness.measure_ray(err)])
        if "checks" in parts:
            checked = {}
            with _Teller(err, len(names) * checks.TICKS) as teller:
                for name, path in names.items():
                    large = make_work(path, source, Path(folder) / f"{name}-large", checks.LARGE_VOCABULARY)
                    checked[name] = checks.measure(works[name], large, partial(teller, name))
            figures = replace(figures, checks=checked)
        if "engine" in parts:
            with _Teller(err, len(names) * engine.TICKS) as teller:
                served = {name: engine.measure(path, partial(teller, name)) for name, path in names.items()}
            figures = replace(figures, engines=served)
    return figures


def data_source(path: str) -> DataSource:
    """All pairs of a file or the toolbox. Raises UserError for a file that is not there."""
    if path != TOOLBOX and not Path(path).is_file():
        raise UserError(f"--data {path}: there is no such file; give preference pairs (.jsonl, .parquet) or {TOOLBOX}")
    return DataSource(data_content_of(path, None, None), None, None, PROBES_A_SPLIT, path=path)


def _check(given: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise UserError(str(UnknownWord(what, name, known)))


class _Teller:
    """What is measured now: a bar with the remaining time on a terminal, a line now and then elsewhere."""

    def __init__(self, err: Console, total: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.err, self.bar, self.said = err, Progress(*columns, console=err, transient=True), 0.0
        self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> _Teller:
        if self.err.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.err.is_terminal:
            self.bar.stop()

    def __call__(self, model: str, text: str) -> None:
        text = f"{model}: {text}"
        self.bar.update(self.task, advance=1, description=text)
        if not self.err.is_terminal and time.monotonic() - self.said > SECONDS_BETWEEN_LINES:
            self.said = time.monotonic()
            left = self.bar.tasks[0].time_remaining
            self.err.print(text if left is None else f"{text}, about {duration(left)} left", **PLAIN)
