"""`bench run`: make whatever of a suite is not finished, and show what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gatebench.bench.cli.options import (
    DEFAULT_RESULTS,
    Address,
    AsJson,
    DataFolder,
    ExecutorName,
    Only,
    Profile,
    Results,
    Settings,
    SuiteFile,
    Workers,
)
from gatebench.bench.cli.output import command_given, estimate_of, print_results, show_plan
from gatebench.bench.run.prepare import prepare

if TYPE_CHECKING:
    from rich.console import Console

    from gatebench.bench.plan.graph import Plan
    from gatebench.bench.run.suite_run import Done


def run_command(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    data: DataFolder = None,
    workers: Workers = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Start nothing more after a failure.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and run nothing.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Keep the report up to date while the run goes on.")] = False,
    executor: ExecutorName = "local",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Train, measure and compare every cell of a suite; finished stages are never repeated."""
    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.executors.registry import get_executor
    from gatebench.bench.plan.planner import plan_cautions
    from gatebench.bench.plan.readable import transcript_cautions
    from gatebench.bench.plan.task_files import code_cautions
    from gatebench.bench.run import suite_run

    get_executor(executor, address)
    prepared = prepare(suite, profile, results, settings, only, data)
    if dry_run:
        show_plan(prepared, as_json, workers=workers)
        return
    err = Console(stderr=True)
    sources = prepared.sources
    cautions = [*plan_cautions(prepared.plan), *estimate_of(prepared, workers=workers)[1]]
    cautions += [*transcript_cautions(sources), *code_cautions(sources)]
    for sentence in cautions:
        err.print(f"caution: {sentence}", style="yellow", **PLAIN)
    try:
        done = suite_run.run(prepared, err, suite_run.Manner(workers, fail_fast, live, executor, address))
    except KeyboardInterrupt:
        err.print(f"stopped; finished stages are kept. To go on: {command_given()}", **PLAIN)
        raise typer.Exit(130) from None
    _say_what_was_done(done, prepared.plan, err)
    print_results(done.summary, as_json, prepared.folder)
    if done.outcome.failed:
        err.print(
            f"{len(done.outcome.failed)} failed; what rests on them was skipped. To try them again: {command_given()}",
            **PLAIN,
        )
        raise typer.Exit(1)


def _say_what_was_done(done: Done, plan: Plan, err: Console) -> None:
    from gatebench.bench.console import PLAIN, harmless

    ran, failed = len(done.outcome.ran), done.outcome.failed
    before = len(plan.nodes) - ran - len(failed) - len(done.outcome.skipped)
    err.print(f"{ran} stages run, {before} already finished, {done.seconds:.0f} s", **PLAIN)
    err.print(f"report: {done.report}\nMLflow: {done.tracked}", **PLAIN)
    for sentence in done.summary.cautions:
        err.print(f"caution: {harmless(sentence)}", style="yellow", **PLAIN)
    for failure in failed.values():
        err.print(f"failed: {failure.kind} {failure.key}: {harmless(failure.message)}", style="red", **PLAIN)
