"""The command line. Heavy imports happen inside the commands, so that --help is immediate.

Exit codes: 0 success, 1 a cell failed, 2 a user's mistake. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gatebench.bench.cli.output import estimate_of, print_json, print_results, results_console, show_plan
from gatebench.bench.errors import DiskFull, UserError, is_disk_full
from gatebench.bench.run.prepare import prepare, settings_of

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
    live: Annotated[bool, typer.Option("--live", help="Keep the report up to date while the run goes on.")] = False,
    as_json: Json = False,
) -> None:
    """Train, measure and compare every cell of a suite; finished stages are never repeated."""
    from rich.console import Console

    from gatebench.bench.executors.progress import PLAIN
    from gatebench.bench.plan.planner import cautions
    from gatebench.bench.run import suite_run

    prepared = prepare(suite, profile, results, settings, only)
    if dry_run:
        show_plan(prepared, as_json)
        return
    err = Console(stderr=True)
    for sentence in [*cautions(prepared.plan), *estimate_of(prepared)[1]]:
        err.print(f"caution: {sentence}", style="yellow", **PLAIN)
    try:
        done = suite_run.run(prepared, err, workers, fail_fast, live=live)
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
    print_results(done.summary, as_json, prepared.folder)
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

    from gatebench.bench.analysis import tables
    from gatebench.bench.executors.progress import PLAIN
    from gatebench.bench.plan.resolve import resolve
    from gatebench.bench.suite.reader import load_suite
    from gatebench.bench.tune.search import tune as search

    err = Console(stderr=True)
    loaded = load_suite(suite, profile, settings_of(settings or []))
    try:
        found = search(loaded, resolve(loaded, suite), results, err, workers, resume)
    except KeyboardInterrupt:
        err.print(f"stopped; finished trials are kept. To go on: {_again()} --resume", **PLAIN)
        raise typer.Exit(130) from None
    if as_json:
        print_json({"studies": [asdict(study) for study in found.studies], "best": str(found.file),
               "run": str(found.prepared.folder)})  # fmt: skip
        return
    console = results_console()
    for study in found.studies:
        console.print(tables.study_table(study))
        err.print(f"{study.name}: {found.cost(study)}", **PLAIN)
    err.print(f"the winner's suite: {found.file}\nreport: {found.done.report}\nMLflow: {found.done.tracked}", **PLAIN)
    print_results(found.done.summary, as_json, found.prepared.folder)
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
    prepared = prepare(suite, profile, results, settings, only)
    if calibrate:
        from rich.console import Console

        from gatebench.bench.cost import calibration

        calibration.calibrate(prepared.plan, prepared.store, Console(stderr=True))
    if why is None:
        show_plan(prepared, as_json)
        return
    from gatebench.bench.plan.explain import explain, find_cell

    for line in explain(prepared.plan, find_cell(prepared.plan, why), prepared.store):
        print(line)


@app.command()
def gc(
    suites: Annotated[list[Path], typer.Argument(help="The suites to keep, with all their profiles.")],
    results: Results = DEFAULT_RESULTS,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only show.")] = False,
) -> None:
    """Remove from the store what no named suite needs; shows what that is unless told to delete."""
    from gatebench.bench.plan.unneeded import unneeded
    from gatebench.bench.store.files import remove, size_of
    from gatebench.bench.store.store import Store
    from gatebench.bench.suite.reader import profiles_of

    store = Store(results / "store")
    if delete and store.is_in_use():
        raise UserError(f"{store.root}: a run is writing to this store; wait for its end or stop it")
    plans = [prepare(s, name, results, None, None).plan for s in suites for name in (None, *profiles_of(s))]
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
    from gatebench.bench.analysis.summary import summarize
    from gatebench.bench.run import suite_run

    prepared = prepare(suite, profile, results, settings, only)
    print(suite_run.build(summarize(prepared.plan, prepared.store), prepared))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A run: its folder, or a suite that has one run.", metavar="RUN_A")],
    second: Annotated[str, typer.Argument(help="Another run, or a CSV of published results.", metavar="RUN_B")],
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
) -> None:
    """Put two runs, or a run and published results, side by side."""
    from dataclasses import asdict

    from gatebench.bench.analysis import tables
    from gatebench.bench.analysis.comparison import METRICS, agreement, differences
    from gatebench.bench.analysis.saved_runs import read_published, read_run

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
        print_json([asdict(row) for row in found])
    else:
        results_console().print(*shown)


@app.command()
def ui(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    show: Annotated[bool, typer.Option("--open", help="Open the first link in the browser.")] = False,
) -> None:
    """Start MLflow's UI, and Optuna's dashboard where there is a study, on this machine; Ctrl-C ends them."""
    import signal
    import webbrowser

    from rich.console import Console

    from gatebench.bench.executors.progress import PLAIN
    from gatebench.bench.suite.reader import load_suite
    from gatebench.bench.tracking import ui as servers
    from gatebench.bench.tracking.delivery import tracking_uri
    from gatebench.bench.tune.study import storage_of

    err = Console(stderr=True)
    loaded = load_suite(suite, profile, settings_of(settings or []))
    err.print("starting MLflow's UI", **PLAIN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with servers.served(
            loaded.name, tracking_uri(results), storage_of(loaded.tune, results), results / "ui.log"
        ) as links:
            for link in links:
                print(f"{link.what}: {link.address}", flush=True)
            if show:
                webbrowser.open(links[0].address)
            err.print("Ctrl-C ends it", **PLAIN)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        err.print("ended", **PLAIN)


@app.command()
def samples(
    suite: SuiteFile,
    prompt: Annotated[int, typer.Argument(min=0, help="The number of a held-out prompt, from 0.", metavar="PROMPT_ID")],
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    as_json: Json = False,
) -> None:
    """Show the answers of all cells to one prompt, side by side."""
    from dataclasses import asdict

    from gatebench.bench.analysis import samples as answers
    from gatebench.bench.analysis import tables

    prepared = prepare(suite, profile, results, settings, only)
    text, found = answers.samples(prepared.plan, prepared.store, prompt)
    if as_json:
        print_json({"prompt": text, "answers": [asdict(sample) for sample in found]})
    else:
        results_console().print(tables.samples_table(text, found))


@app.command()
def perf(
    parts: Annotated[
        list[str] | None, typer.Argument(help="step, suite, harness, checks; engine, which needs vLLM.")
    ] = None,
    data: Annotated[str, typer.Option(help="Preference pairs to train on: a file, or builtin:toolbox.")] = (
        "builtin:toolbox"
    ),
    model: Annotated[list[str] | None, typer.Option(help="Built-in models, such as llama-1.3m.")] = None,
    as_json: Json = False,
) -> None:
    """Measure this machine: a step and a suite against stock TRL, and what the harness itself costs."""
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")  # stock TRL's bars would run through ours; read when tqdm is imported
    from rich.console import Console

    from gatebench.bench.perf.session import DEFAULT_PARTS, MODELS, measure
    from gatebench.bench.perf.tables import perf_tables

    err = Console(stderr=True)
    figures = measure(parts or DEFAULT_PARTS, model or MODELS, data, err)
    if as_json:
        print_json(figures.to_json())
    results_console(stderr=as_json).print(*perf_tables(figures))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the suite file, for editors."""
    from gatebench.bench.suite.schema import Suite

    print_json(Suite.model_json_schema())


def _again() -> str:
    """The command line that was given, to be given again."""
    import shlex

    return shlex.join(["bench", *sys.argv[1:]])


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
