"""The command line. Heavy imports happen inside the commands, so that --help is immediate.

Exit codes: 0 success, 1 a cell failed, 2 a user's mistake. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.plan import Plan
    from bench.store import Store
    from bench.summary import Summary

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=(
    "What did the gate change, on which objective, at which scale, and how sure are we?"
))  # fmt: skip
SuiteFile = Annotated[Path, typer.Argument(help="The suite file (YAML).", metavar="SUITE")]
Profile = Annotated[str | None, typer.Option(help="A named overlay of the suite file.")]
Results = Annotated[Path, typer.Option(help="Where the store, the runs and the MLflow database are.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a key: train.learning_rate=1e-6.")]
Only = Annotated[str | None, typer.Option(help="Keep the cells that match: loss=dpo,gate=seq|none.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
DEFAULT_RESULTS = Path("results")


@app.command()
def run(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a GPU or core by default.")] = None,
    as_json: Json = False,
) -> None:
    """Train, measure and compare every cell of a suite; finished stages are never repeated."""
    import shutil
    import time

    from rich.console import Console

    from bench import summary as summaries
    from bench.executors.base import Outcome, execute
    from bench.executors.local import LocalExecutor, default_workers
    from bench.plan import cautions
    from bench.progress import Progress
    from bench.resolve import check_data
    from dashboards.report import write_report

    started = time.monotonic()
    err = Console(stderr=True)
    plan, store, sources = _plan(suite, profile, results, settings, only)
    for sentence in cautions(plan):
        err.print(f"caution: {sentence}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    missing = [node for node in plan.nodes.values() if not store.is_finished(node.kind, node.key)]
    folder = results / "runs" / plan.suite / summaries.run_id(plan)
    outcome = Outcome(cached=set(plan.nodes))
    if missing:
        check_data(sources)
        count, threads, devices = default_workers()
        count = min(workers or count, len(missing))
        err.print(
            f"{len(plan.cells)} cells, {len(missing)} of {len(plan.nodes)} stages to run, {count} workers",
            highlight=False,
        )
        executor = LocalExecutor(count, threads, devices, folder / "logs")
        try:
            with Progress(plan, store, count, err, folder / "log.jsonl") as progress:
                outcome = execute(plan, store, executor, progress)
        except KeyboardInterrupt:
            err.print(f"stopped; finished stages are kept. To go on: bench run {suite}", highlight=False)
            raise typer.Exit(130) from None
        finally:
            executor.close()
    summary = summaries.summarize(plan, store, outcome)
    summaries.write(summary, plan, folder)
    report = write_report(summary, store, folder)
    shutil.copyfile(suite, folder / "suite.yaml")
    tracked = _track(summary, plan, store, folder, results)
    _print_results(summary, as_json, folder)
    ran = len(outcome.ran)
    before = len(plan.nodes) - ran - len(outcome.failed) - len(outcome.skipped)
    err.print(f"{ran} stages run, {before} already finished, "
              f"{time.monotonic() - started:.0f} s", highlight=False)  # fmt: skip
    err.print(f"report: {report}\nMLflow: {tracked}", highlight=False, soft_wrap=True)
    for sentence in summary.cautions:
        err.print(f"caution: {sentence}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    for failure in outcome.failed.values():
        err.print(
            f"failed: {failure.kind} {failure.key}: {failure.message}", style="red", highlight=False, markup=False
        )
    if outcome.failed:
        raise typer.Exit(1)


def _track(summary: Summary, plan: Plan, store: Store, folder: Path, results: Path) -> str:
    """Log to MLflow unless this run's cells are logged there already; a server that is down loses nothing."""
    import json

    from bench.store import write_json
    from bench.tracking import track, tracking_uri

    uri = tracking_uri(results)
    marker = folder / "tracked.json"
    state = {"uri": uri, "cells": {cell.id: cell.stages["dynamics"].key for cell in summary.finished}}
    if marker.exists() and json.loads(marker.read_text()) == state:
        return uri
    try:
        track(summary, plan, store, folder, uri)
    except Exception as error:  # MLflow raises its own kinds and those of every backend it talks to
        return f"{uri} could not be written ({type(error).__name__}: {str(error).splitlines()[0]}); run again to log"
    write_json(marker, state)
    return uri


@app.command()
def plan(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    as_json: Json = False,
) -> None:
    """List the cells and stages of a suite: what is finished and what would run. Needs no network."""
    from rich.console import Console
    from rich.table import Table

    made, store, sources = _plan(suite, profile, results, settings, only)
    finished = {key for key, node in made.nodes.items() if store.is_finished(node.kind, key)}
    if as_json:
        _json({
            "suite": made.suite,
            "cells": [{"id": cell.id, **cell.axes(), "stages": dict(cell.stages)} for cell in made.cells],
            "stages": {key: {"kind": n.kind, "finished": key in finished} for key, n in made.nodes.items()},
        })  # fmt: skip
        return
    out = Console()
    kinds = list(dict.fromkeys(node.kind for node in made.nodes.values()))
    cells = Table(title=f"{made.suite}: {len(made.cells)} cells")
    for name in ("cell", *kinds):
        cells.add_column(name, no_wrap=True)
    for cell in made.cells:
        marks = [
            "-" if k not in cell.stages else "finished" if cell.stages[k] in finished else "would run" for k in kinds
        ]
        cells.add_row(cell.id, *marks)
    out.print(cells)
    stages = Table(title="stages, shared between cells")
    for name in ("stage", "in all", "finished", "would run"):
        stages.add_column(name, justify="left" if name == "stage" else "right")
    for kind in kinds:
        keys = [key for key, node in made.nodes.items() if node.kind == kind]
        done = sum(key in finished for key in keys)
        stages.add_row(kind, str(len(keys)), str(done), str(len(keys) - done))
    out.print(stages)
    unpinned = [s.path for s in sources.models.values() if s.content.startswith("hub:") and s.revision is None]
    unpinned += [s.path for s in sources.datasets.values() if s.content.startswith("hub:") and s.revision is None]
    if unpinned:
        Console(stderr=True).print(
            f"not pinned, so a change on the hub would go unnoticed: {', '.join(unpinned)}; give each a revision",
            highlight=False,
        )


@app.command()
def report(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
) -> None:
    """Rebuild the report and summary of a suite from the store, whatever of it is finished."""
    from bench import summary as summaries
    from dashboards.report import write_report

    made, store, _ = _plan(suite, profile, results, settings, only)
    summary = summaries.summarize(made, store)
    folder = results / "runs" / made.suite / summary.run_id
    summaries.write(summary, made, folder)
    print(write_report(summary, store, folder))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the suite file, for editors."""
    from bench.suite import Suite

    _json(Suite.model_json_schema())


def _plan(
    suite: Path, profile: str | None, results: Path, settings: list[str] | None, only: str | None
) -> tuple[Plan, Store, Any]:
    from bench.plan import make_plan
    from bench.resolve import resolve
    from bench.store import Store
    from bench.suite import load_suite

    loaded = load_suite(suite, profile, _settings(settings or []))
    sources = resolve(loaded, suite)
    made = make_plan(loaded, sources, _only(only))
    if not made.cells:
        raise UserError(f"{suite}: no cell is left; loosen --only or exclude")
    return made, Store(results / "store"), sources


def _settings(given: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: expected KEY=VALUE, as in train.learning_rate=1e-6")
        found[key] = yaml.safe_load(value)
    return found


def _only(text: str | None) -> Callable[[Mapping[str, Any]], bool]:
    from objectives.words import nearest

    wanted = {}
    for part in (text or "").split(","):
        if part:
            key, _, values = part.partition("=")
            wanted[key.strip()] = values.split("|")

    def keep(axes: Mapping[str, Any]) -> bool:
        for key in wanted:
            if key not in axes:
                raise UserError(f"--only {text}: unknown axis {key!r}; {nearest(key, axes)}")
        return all(str(axes[key]) in values for key, values in wanted.items())

    return keep


def _print_results(summary: Summary, as_json: bool, folder: Path) -> None:
    from rich.console import Console

    from bench.tables import results_table

    if as_json:
        print((folder / "summary.json").read_text())
    else:
        out = Console()
        # a pipe has no width: the table must not be cut to 80 columns there
        Console(width=None if out.is_terminal else 160).print(results_table(summary))


def _json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))


def main() -> None:
    """Entry point: a user's mistake is printed as its sentences, exit code 2."""
    try:
        app()
    except UserError as error:
        for sentence in error.sentences:
            print(sentence, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
