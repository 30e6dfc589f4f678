"""`bench tune`: search the gate, then judge what was found."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import (
    DEFAULT_RESULTS,
    Address,
    AsJson,
    DataFolder,
    ExecutorName,
    Profile,
    Results,
    Settings,
    SuiteFile,
    Workers,
)
from gatebench.bench.cli.output import command_given, print_results, print_tables
from gatebench.bench.console import print_json
from gatebench.bench.errors import UserError
from gatebench.bench.run.prepare import settings_of


def tune_command(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    data: DataFolder = None,
    workers: Workers = None,
    executor: ExecutorName = "local",
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that has trials.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search the gate's thresholds with Optuna, then judge the winner on probes that no trial saw."""
    from dataclasses import asdict

    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.executors.registry import LOCAL, get_executor
    from gatebench.bench.plan.hub import check_hub
    from gatebench.bench.plan.planner import make_plan
    from gatebench.bench.plan.readable import check_rows
    from gatebench.bench.plan.resolve import resolve
    from gatebench.bench.plan.runnable import check_recipes, not_runnable_here
    from gatebench.bench.run.suite_run import Manner
    from gatebench.bench.store.sending import catch_up
    from gatebench.bench.store.store import Store
    from gatebench.bench.suite.reader import load_suite
    from gatebench.bench.tune.search import tune
    from gatebench.bench.tune.tables import study_table

    get_executor(executor, address)
    err = Console(stderr=True)
    loaded = load_suite(suite, profile, settings_of(settings or []))
    sources = resolve(loaded, suite, data)
    made = make_plan(loaded, sources)
    check_hub(made, made.nodes, suite)
    check_recipes(made, sources)
    if executor == LOCAL and (lacking := not_runnable_here(made)):
        raise UserError(*lacking)
    check_rows(made, sources)
    store = Store(results / "store")
    store.root.mkdir(parents=True, exist_ok=True)
    try:
        with store.in_use():
            catch_up(store)
            found = tune(loaded, sources, results, err, Manner(workers, executor=executor, address=address), resume)
    except KeyboardInterrupt:
        err.print(f"stopped; finished trials are kept. To go on: {command_given()} --resume", **PLAIN)
        raise typer.Exit(130) from None
    if as_json:
        print_json({"studies": [asdict(study) for study in found.studies], "best": str(found.file),
               "run": str(found.prepared.folder)})  # fmt: skip
        return
    for study in found.studies:
        print_tables([study_table(study)])
        err.print(f"{study.name}: {found.cost(study)}", **PLAIN)
    err.print(f"the winner's suite: {found.file}\nreport: {found.done.report}\nMLflow: {found.done.tracked}", **PLAIN)
    print_results(found.done.summary, as_json, found.prepared.folder)
    if found.done.outcome.failed:
        raise typer.Exit(1)
