"""The Optuna study of a task: where it is kept, who samples it, what it found."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench import keys
from gatebench.bench.errors import UserError
from gatebench.bench.plan.graph import Sources
from gatebench.bench.secrets import without_secrets
from gatebench.bench.suite.schema import Suite
from gatebench.bench.suite.tuning import Dimension, Range, Tune
from gatebench.bench.tune.records import CONSTRAINTS, Counts, Task
from gatebench.bench.tune.space import dimensions, tuned_point

if TYPE_CHECKING:
    import sqlite3

    import optuna
    from sqlalchemy import Connection, Engine

DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306}
HEARTBEAT, GRACE, RETRIES = 10, 30, 3  # seconds, seconds, times: a trial whose process is gone is asked again


def make_task(suite: Suite, tune: Tune, sources: Sources, results: Path) -> Task:
    """The study's identity is what is searched, where and on which content; its budget may grow, not past a grid."""
    at = tuned_point(suite, tune)
    if tune.sampler == "grid":
        tune = tune.model_copy(update={"trials": min(tune.trials, math.prod(map(len, _grid(suite, tune).values())))})
    searched = tune.model_dump(mode="json", exclude={"trials", "hours", "storage", "fair", "rivals", "sampler"})
    space = {name: keys_of(dimension) for name, dimension in dimensions(at, tune).items()}
    task = Task(suite, tune, sources, results / "store", "", tune.storage or f"sqlite:///{results / 'studies.db'}")
    of_answers = [at.evaluate.generate.samples] if at.evaluate.generate and tune.of_answers else []
    identity = keys.digest(
        [searched, space, sorted(task.shared().nodes), keys.canonical(at.train), at.evaluate.model_dump(), *of_answers]
    )
    gate = tune.gate or tune.over
    name = f"{suite.name} {at.models[0].name} {at.objectives[0].name} {gate} {identity[:8]}"
    return Task(suite, tune, sources, task.store, name, task.storage)


def keys_of(dimension: Dimension) -> object:
    return dimension.model_dump() if isinstance(dimension, Range) else list(dimension)


def storage_of(tune: Tune | None, results: Path) -> str | None:
    """Where the studies of a suite are, if there can be any yet."""
    if tune is not None and tune.storage:
        return tune.storage
    file = results / "studies.db"
    return f"sqlite:///{file}" if file.exists() else None


def one_database(first: str, second: str) -> bool:
    """Whether two addresses, of MLflow's kinds or Optuna's, are of one database."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        urls = [make_url(address) for address in (first, second)]
    except (ArgumentError, ValueError):  # journal:FILE, or what will be refused in its own words
        return False
    places = [Path(url.database or "").resolve() if url.host is None else url.database for url in urls]
    kinds = [(url.get_backend_name(), url.host, url.port or DEFAULT_PORTS.get(url.get_backend_name())) for url in urls]
    return places[0] == places[1] and kinds[0] == kinds[1]


def storage(task: Task) -> optuna.storages.BaseStorage:
    """sqlite, PostgreSQL, or `journal:FILE` for file systems without locks for sqlite; all with heartbeats.

    Raises UserError where the address cannot be opened.
    """
    import optuna

    from gatebench.bench.tune.journal import BeatingJournal

    quiet_optuna()
    kind, _, rest = task.storage.partition(":")
    if kind == "journal":
        Path(rest).parent.mkdir(parents=True, exist_ok=True)
        return BeatingJournal(rest, HEARTBEAT, GRACE, RETRIES)
    if kind == "sqlite":
        Path(rest.removeprefix("///")).parent.mkdir(parents=True, exist_ok=True)
    more = {"connect_args": {"timeout": 60}} if kind == "sqlite" else {"pool_pre_ping": True}
    try:
        opened = optuna.storages.RDBStorage(
            task.storage, engine_kwargs=more, heartbeat_interval=HEARTBEAT, grace_period=GRACE,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )  # fmt: skip
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"tune.storage: {task.shown}: {without_secrets(reason)}; expected sqlite:///FILE, journal:FILE or "
            "postgresql://..."
        ) from None
    if kind == "sqlite":
        _one_writer(opened.engine)
    return opened


def _one_writer(engine: Engine) -> None:
    """Have every transaction take sqlite's lock as it begins.

    sqlite ignores SELECT … FOR UPDATE, with which Optuna keeps two processes from changing one trial: both found the
    same trial stale, or waiting, and asked it twice.
    """
    from sqlalchemy import event

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def leave_transactions_to_us(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    engine.dispose()
    event.listen(engine, "connect", leave_transactions_to_us)
    event.listen(engine, "begin", begin)


def open_study(task: Task) -> optuna.Study:
    """The study, made if it is not there."""
    import optuna

    return optuna.create_study(
        storage=storage(task), study_name=task.name, load_if_exists=True,
        directions=["maximize"] * len(task.tune.maximize), sampler=_sampler(task), pruner=_pruner(task.tune),
    )  # fmt: skip


def exists(task: Task) -> bool:
    return any(summary.study_name == task.name for summary in storage(task).get_all_studies())


def quiet_optuna() -> None:
    """Results only on the terminal."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _sampler(task: Task) -> optuna.samplers.BaseSampler:
    import optuna

    tune = task.tune
    constraints = (lambda trial: trial.user_attrs.get(CONSTRAINTS, [])) if tune.bounds else None
    if tune.sampler == "tpe":
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, constraints_func=constraints)
    if tune.sampler == "gp":
        return optuna.samplers.GPSampler(constraints_func=constraints)
    if tune.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(constraints_func=constraints)
    if tune.sampler == "random":
        return optuna.samplers.RandomSampler()
    return optuna.samplers.GridSampler(_grid(task.suite, tune))


def _grid(suite: Suite, tune: Tune) -> dict[str, list[float | str]]:
    """The values of every dimension. Raises UserError for a range."""
    space = dimensions(tuned_point(suite, tune), tune)
    ranges = [name for name, dimension in space.items() if isinstance(dimension, Range)]
    if ranges:
        raise UserError(
            f"tune.sampler: grid needs a list of values for {', '.join(ranges)}; a range has no end of them"
        )
    return {name: list(values) for name, values in space.items() if not isinstance(values, Range)}


def _pruner(tune: Tune) -> optuna.pruners.BasePruner:
    import optuna

    if tune.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.MedianPruner() if tune.pruner == "median" else optuna.pruners.NopPruner()


def counts(study: optuna.Study) -> Counts:
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    return Counts(
        states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED), states.count(TrialState.RUNNING),
        states.count(TrialState.WAITING),
        sum(t.duration.total_seconds() for t in trials if t.state in finished and t.duration is not None),
    )  # fmt: skip
