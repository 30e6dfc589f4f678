"""The command line. Heavy imports happen inside the commands, so that --help is immediate.

Exit codes: 0 success, 1 a cell failed, 2 a user's mistake. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import DiskFull, UserError, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from bench.estimate import Estimate
    from bench.runs import Prepared
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
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Start nothing more after a failure.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and run nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train, measure and compare every cell of a suite; finished stages are never repeated."""
    from rich.console import Console

    from bench import runs
    from bench.plan import cautions
    from bench.progress import PLAIN

    prepared = _prepare(suite, profile, results, settings, only)
    if dry_run:
        _show_plan(prepared, as_json)
        return
    err = Console(stderr=True)
    for sentence in [*cautions(prepared.plan), *_estimate(prepared)[1]]:
        err.print(f"caution: {sentence}", style="yellow", **PLAIN)
    try:
        done = runs.run(prepared, err, workers, fail_fast)
    except KeyboardInterrupt:
        err.print(f"stopped; finished stages are kept. To go on: {_again()}", **PLAIN)
        raise typer.Exit(130) from None
    ran, failed = len(done.outcome.ran), done.outcome.failed
    before = len(prepared.plan.nodes) - ran - len(failed) - len(done.outcome.skipped)
    err.print(f"{ran} stages run, {before} already finished, {done.seconds:.0f} s", **PLAIN)
    err.print(f"report: {done.report}\nMLflow: {done.tracked}", **PLAIN)
    for sentence in done.summary.cautions:
        err.print(f"caution: {sentence}", style="yellow", **PLAIN)
    for failure in failed.values():
        err.print(f"failed: {failure.kind} {failure.key}: {failure.message}", style="red", **PLAIN)
    _print_results(done.summary, as_json, prepared.folder)
    if failed:
        err.print(f"{len(failed)} failed; what rests on them was skipped. To try them again: {_again()}", **PLAIN)
        raise typer.Exit(1)


@app.command()
def tune(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a GPU or core by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that has trials.")] = False,
    as_json: Json = False,
) -> None:
    """Search the gate's thresholds with Optuna, then judge the winner on probes that no trial saw."""
    from dataclasses import asdict

    from rich.console import Console

    from bench import tables
    from bench.progress import PLAIN
    from bench.resolve import resolve
    from bench.suite import load_suite
    from bench.tune.run import tune as search

    err = Console(stderr=True)
    loaded = load_suite(suite, profile, _settings(settings or []))
    try:
        found = search(loaded, resolve(loaded, suite), results, err, workers, resume)
    except KeyboardInterrupt:
        err.print(f"stopped; finished trials are kept. To go on: {_again()} --resume", **PLAIN)
        raise typer.Exit(130) from None
    if as_json:
        _json({"studies": [asdict(study) for study in found.studies], "best": str(found.file),
               "run": str(found.prepared.folder)})  # fmt: skip
        return
    console = _results_console()
    for study in found.studies:
        console.print(tables.study_table(study))
        err.print(f"{study.name}: {found.cost(study)}", **PLAIN)
    err.print(f"the winner's suite: {found.file}\nreport: {found.done.report}\nMLflow: {found.done.tracked}", **PLAIN)
    _print_results(found.done.summary, as_json, found.prepared.folder)
    if found.done.outcome.failed:
        raise typer.Exit(1)


@app.command()
def plan(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    why: Annotated[str | None, typer.Option(metavar="CELL", help="Why the stages of a cell will run.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Time a few steps here first, for the hours.")] = False,
    as_json: Json = False,
) -> None:
    """List the cells and stages of a suite: what is finished, what would run and what it would take."""
    prepared = _prepare(suite, profile, results, settings, only)
    if calibrate:
        from rich.console import Console

        from bench import calibration

        calibration.calibrate(prepared.plan, prepared.store, Console(stderr=True))
    if why is None:
        _show_plan(prepared, as_json)
        return
    from bench.why import explain, find_cell

    for line in explain(prepared.plan, find_cell(prepared.plan, why), prepared.store):
        print(line)


@app.command()
def gc(
    suites: Annotated[list[Path], typer.Argument(help="The suites to keep, with all their profiles.")],
    results: Results = DEFAULT_RESULTS,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only show.")] = False,
) -> None:
    """Remove from the store what no named suite needs; shows what that is unless told to delete."""
    from bench.gc import unneeded
    from bench.store import Store, remove, size_of
    from bench.suite import profiles_of

    store = Store(results / "store")
    if delete and store.is_in_use():
        raise UserError(f"{store.root}: a run is writing to this store; wait for its end or stop it")
    plans = [_prepare(s, name, results, None, None).plan for s in suites for name in (None, *profiles_of(s))]
    found = unneeded(plans, store)
    for kind, places in found.items():
        print(f"{kind}: {len(places)}, {sum(map(size_of, places)) / 1e6:.1f} MB")
        if delete:
            remove(places)
    total = sum(map(len, found.values()))
    print(
        f"{total} {'deleted' if delete else 'to delete; nothing was: add --delete'}" if total else "nothing to delete"
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
    from bench import runs
    from bench.summary import summarize

    prepared = _prepare(suite, profile, results, settings, only)
    print(runs.build(summarize(prepared.plan, prepared.store), prepared))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A run: its folder, or a suite that has one run.", metavar="RUN_A")],
    second: Annotated[str, typer.Argument(help="Another run, or a CSV of published results.", metavar="RUN_B")],
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
) -> None:
    """Put two runs, or a run and published results, side by side."""
    from dataclasses import asdict

    from bench import tables
    from bench.compare import METRICS, agreement, differences
    from bench.sides import read_published, read_run

    ours = read_run(first, results)
    if second.endswith(".csv"):
        if not Path(second).exists():
            raise UserError(f"{second}: no such file; expected a CSV of published results")
        published, groups = read_published(Path(second)), ours.summary.groups
        agreements = agreement(groups, published)
        shown = [*(tables.published_table(groups, published, m) for m in METRICS), tables.agreement_table(agreements)]
        found: list[Any] = list(agreements)
    else:
        theirs = read_run(second, results)
        other = [name for name in ours.probes if name in theirs.probes and ours.probes[name] != theirs.probes[name]]
        if other:
            raise UserError(
                f"{first} and {second}: data set {other[0]} has other probes; only equal ones can be paired"
            )
        found = list(differences(ours.cells(), theirs.cells()))
        shown = [tables.differences_table(found)]
    if not found:
        raise UserError(f"{first} and {second} have no (model, data set, objective, gate) in common")
    if as_json:
        _json([asdict(row) for row in found])
    else:
        _results_console().print(*shown)


@app.command()
def perf(as_json: Json = False) -> None:
    """Measure the harness on this machine: planning, overhead a cell, a finished suite run again."""
    from dataclasses import asdict

    from rich.console import Console

    from bench.perf.harness import measure

    figures = []
    for figure in measure(Console(stderr=True)):
        figures.append(figure)
        if not as_json:
            print(f"{figure.what}: {figure.seconds:.3g} s (to reach: {figure.limit:g} s)")
    if as_json:
        _json([asdict(figure) for figure in figures])


@app.command()
def schema() -> None:
    """Print the JSON Schema of the suite file, for editors."""
    from bench.suite import Suite

    _json(Suite.model_json_schema())


def _prepare(suite: Path, profile: str | None, results: Path, settings: list[str] | None, only: str | None) -> Prepared:
    from bench.plan import make_plan
    from bench.resolve import resolve
    from bench.runs import Prepared
    from bench.suite import load_suite

    loaded = load_suite(suite, profile, _settings(settings or []))
    sources = resolve(loaded, suite)
    made = make_plan(loaded, sources, _only(only))
    if not made.cells:
        raise UserError(f"{suite}: no cell is left; loosen --only or exclude")
    return Prepared(suite, made, sources, results)


def _again() -> str:
    """The command line that was given, to be given again."""
    import shlex

    return shlex.join(["bench", *sys.argv[1:]])


def _estimate(prepared: Prepared) -> tuple[Estimate, list[str]]:
    """What the rest of the suite would take here, and sentences where it does not fit."""
    import shutil

    from bench import estimate
    from bench.calibration import records
    from bench.machine import this_machine

    finished = prepared.store.finished_among(prepared.plan.addresses)
    found = estimate.estimate(prepared.plan, finished, records(prepared.store), this_machine())
    place = next(place for place in (prepared.results.resolve(), *prepared.results.resolve().parents) if place.exists())
    return found, estimate.cautions(found, this_machine(), shutil.disk_usage(place).free)


def _show_plan(prepared: Prepared, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console

    from bench.machine import this_machine
    from bench.progress import PLAIN
    from bench.tables import duration, plan_tables

    made = prepared.plan
    finished = prepared.store.finished_among(made.addresses)
    found, sentences = _estimate(prepared)
    if as_json:
        _json({
            "suite": made.suite,
            "cells": [
                {"id": cell.id, **cell.axes(), "stages": dict(cell.stages), "estimate": asdict(found.cells[cell.id])}
                for cell in made.cells
            ],
            "stages": {key: {"kind": n.kind, "finished": key in finished} for key, n in made.nodes.items()},
            "estimate": {**asdict(found.in_all), "wall": found.wall},
            "cautions": sentences,
        })  # fmt: skip
        return
    _results_console().print(*plan_tables(made, finished, found))
    err = Console(stderr=True)
    if found.wall is None:
        err.print("hours unknown: nothing like these stages was timed on this machine; add --calibrate", **PLAIN)
    elif found.in_all.seconds:
        machine = this_machine()
        print(f"about {duration(found.wall)} with {machine.workers} workers ({machine.name})")
    for sentence in [*sentences, *prepared.sources.unpinned()]:
        err.print(sentence, style="yellow", **PLAIN)


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
    from bench.tables import claims_table, results_table, scale_table

    if as_json:
        print((folder / "summary.json").read_text())
        return
    console = _results_console()
    console.print(results_table(summary))
    if summary.scale:
        console.print(scale_table(summary))
    if summary.claims:
        console.print(claims_table(summary))


def _results_console() -> Console:
    """stdout; a pipe has no width, and a table must not be cut to 80 columns there."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


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
    except OSError as error:
        if not is_disk_full(error):
            raise
        print(DiskFull(error.filename or "results"), file=sys.stderr)
        sys.exit(DiskFull.exit_code)


if __name__ == "__main__":
    main()
