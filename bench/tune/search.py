"""`bench tune` from end to end: shared stages, trials, the winner's own suite, and that suite run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gatebench.bench.console import PLAIN
from gatebench.bench.cost.workers import largest_memory, resources_at
from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Resources
from gatebench.bench.executors.loop import check_store, execute
from gatebench.bench.executors.progress import Progress
from gatebench.bench.executors.registry import make_executor
from gatebench.bench.plan.graph import Sources
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import check_data, resolve
from gatebench.bench.run import suite_run
from gatebench.bench.store.files import write_json
from gatebench.bench.store.sending import arrived_among
from gatebench.bench.store.store import Store
from gatebench.bench.suite.reader import load_suite
from gatebench.bench.suite.schema import Suite
from gatebench.bench.tracking.delivery import tracking_uri
from gatebench.bench.tracking.entries import TrialRow, study_entries
from gatebench.bench.tracking.tracker import deliver
from gatebench.bench.tune.figures import draw
from gatebench.bench.tune.records import MEASURED, PARAMETERS, RUNG, Searched, Task
from gatebench.bench.tune.space import best_suite, tuned_point
from gatebench.bench.tune.study import exists, make_task, one_database, open_study
from gatebench.bench.tune.winner import completed, front, winner
from gatebench.bench.tune.workers import run_trials
from gatebench.dashboards.report import STUDY_FILE

if TYPE_CHECKING:
    from rich.console import Console


RIVAL = "rival "  # before an objective's name, where a search is of a rival


@dataclass(frozen=True)
class Tuned:
    """What `bench tune` found. file: best.yaml; done: its run."""

    studies: tuple[Searched, ...]
    file: Path
    done: suite_run.Done
    prepared: suite_run.Prepared

    def cost(self, study: Searched) -> str:
        """What the trials took beside as many plain runs, each with its own training and dynamics."""
        plain = [
            sum(cell.stages[kind].seconds or 0.0 for kind in ("train", "dynamics"))
            for cell in self.done.summary.finished
            if cell.stages["train"].key in self.done.outcome.ran
            and cell.stages["dynamics"].key in self.done.outcome.ran
        ]
        text = f"{study.counts.done} trials took {study.counts.seconds:.0f} s of their workers"
        if not plain:
            return text
        each = sum(plain) / len(plain)
        share = study.counts.seconds / (each * study.counts.done)
        return f"{text}; as many plain runs, of {each:.1f} s as timed just now, would take {1 / share:.1f} times that"


def tune(suite: Suite, sources: Sources, results: Path, err: Console, manner: suite_run.Manner, resume: bool) -> Tuned:
    """Search, then judge the winner. manner: of trials and of the winner's run. Raises UserError for a suite without
    a `tune` block, and for a study that has trials already unless it is to be resumed."""
    block = suite.tune
    if block is None:
        raise UserError(
            "this suite has no tune block; add one, as in  tune: {trials: 40, maximize: [delta_chosen, margin]}"
        )
    if spread := [model.name for model in tuned_point(suite, block).models if model.devices > 1]:
        raise UserError(
            f"bench tune trains each trial on one device, where it can be stopped at a rung, and {spread[0]} is to be "
            "trained on several: leave out devices, or tune another model with  tune: {at: {model: ...}}"
        )
    own = "gate" if block.over == "gates" else "ungated loss"
    blocks = {own: block, **({"ungated loss": block.of_ungated()} if block.fair else {})}
    blocks |= {f"{RIVAL}{name}": block.of_rival(name) for name in block.rivals}
    tasks = [make_task(suite, one, sources, results) for one in blocks.values()]
    if one_database(tasks[0].storage, tracking_uri(results)):
        raise UserError(
            f"tune.storage: {tasks[0].shown} is MLflow's database, and both would keep the version of their tables in "
            "its table alembic_version; make Optuna a database of its own, as with  createdb optuna"
        )
    for task in tasks:
        if exists(task) and not resume:
            raise UserError(
                f"{task.shown}: the study {task.name!r} exists; add --resume to go on with it, or name another storage"
            )
    check_data(sources)
    folder, memory = results / "tune" / tasks[0].name.replace(" ", "-"), largest_memory(make_plan(suite, sources))
    resources = resources_at(
        manner.executor, manner.address, block.trials, memory, folder / "logs", manner.workers, block.trials
    )
    for task in tasks:
        _share(task, resources, manner.executor, err, folder)
    studies = [_search(task, resources, manner.executor, err) for task in tasks]
    file = _write_best(suite, tasks[0], dict(zip(blocks, studies, strict=True)), folder)
    chosen = load_suite(file)
    found = resolve(chosen, file)
    prepared = suite_run.Prepared(file, file.read_text(encoding="utf-8"), make_plan(chosen, found), found, results)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    figures = [
        figure for name, task in zip(blocks, tasks, strict=True) for figure in draw(open_study(task), task.tune, name)
    ]
    write_json(prepared.folder / STUDY_FILE, figures)
    entries = [
        entry
        for task, study in zip(tasks, studies, strict=True)
        for entry in study_entries(task.name, suite.name, _rows(task), study.best.number)
    ]
    say = partial(err.print, **PLAIN)
    say(f"MLflow: {deliver(entries, folder, tracking_uri(results), say)}")
    return Tuned(tuple(studies), file, suite_run.run(prepared, err, manner), prepared)


def _rows(task: Task) -> list[TrialRow]:
    """The study's finished trials, as MLflow keeps them."""
    trials = open_study(task).get_trials(deepcopy=False)
    return [
        TrialRow(
            t.number, t.state.name, t.user_attrs.get(PARAMETERS, {}), t.user_attrs.get(MEASURED, {}),
            {int(name.split()[1]): values for name, values in t.user_attrs.items() if name.startswith(RUNG)},
        )
        for t in trials if t.state.name in ("COMPLETE", "PRUNED")
    ]  # fmt: skip


def _share(task: Task, resources: Resources, where: str, err: Console, folder: Path) -> None:
    """The stages that every trial rests on."""
    plan, store = task.shared(), Store(task.store)
    damaged = check_store(plan, store, plan.nodes)
    missing = len(plan.nodes) - len(arrived_among(store, plan.addresses))
    if not missing:
        return
    err.print(f"{missing} stages that all trials share", **PLAIN)
    executor = make_executor(replace(resources, workers=min(resources.workers, missing)), where)
    try:
        with Progress(plan, store, resources.workers, err, folder / "log.jsonl") as progress:
            for event in damaged:
                progress(event)
            outcome = execute(plan, store, executor, progress)
    finally:
        executor.close()
    if outcome.failed:
        failure = next(iter(outcome.failed.values()))
        raise UserError(f"{failure.kind} {failure.key}: {failure.message}")


def _search(task: Task, resources: Resources, executor: str, err: Console) -> Searched:
    err.print(f"study {task.name!r} in {task.shown}: {task.tune.trials} trials, {resources.workers} workers", **PLAIN)
    found = run_trials(task, err, resources, executor)
    study = open_study(task)
    best = winner(study, task.tune)
    if best is None or (found.done < task.tune.trials and not task.tune.hours):
        raise UserError(
            f"study {task.name!r}: {found.done} of {task.tune.trials} trials are done and the workers ended; "
            f"see {resources.logs}, then add --resume"
        )
    rows = tuple(
        (t.number, t.user_attrs[PARAMETERS], t.user_attrs[MEASURED])
        for t in front(completed(study), task.tune.maximize)
    )
    return Searched(task.name, task.shown, tuple(task.tune.maximize), found, best, rows)


def with_files(entry: Mapping[str, object], source: DataSource, folder: Path) -> dict[str, object]:
    """A data set's entry for a suite in another folder; a local copy of the hub's is a file like any other there."""
    of_hub = ("subset", "revision", "train_split", "test_split", "local") if source.copy_of else ()
    places = (("path", source.path), ("test_path", source.test_path), ("probes", source.probes_path))
    files = {key: path for key, path in places if path and Path(path).exists()}
    moved = {key: os.path.relpath(Path(path).resolve(), folder.resolve()) for key, path in files.items()}
    return {**{key: value for key, value in entry.items() if key not in of_hub}, **moved}


def _write_best(suite: Suite, task: Task, studies: Mapping[str, Searched], folder: Path) -> Path:
    """studies: by what each searched, the tuned one first."""
    (_, found), *others = ((name, study.best.parameters) for name, study in studies.items())
    rivals = {name.removeprefix(RIVAL): best for name, best in others if name.startswith(RIVAL)}
    fair = next((best for name, best in others if not name.startswith(RIVAL)), None)
    raw = best_suite(suite, task.tune, found, fair, task.tuned_on, rivals)
    (source,) = (task.sources.datasets[d.name] for d in tuned_point(suite, task.tune).datasets)
    raw["datasets"][0] = with_files(raw["datasets"][0], source, folder)
    for entry in raw["models"]:
        path = task.sources.models[entry["name"]].path
        if Path(path).exists():
            entry["path"] = os.path.relpath(Path(path).resolve(), folder.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "best.yaml"
    head = f"# The winner of study {task.name!r}, beside what it has to beat, on probes that no trial saw.\n"
    file.write_text(head + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file
