"""One suite from plan to results: what stands in the store is kept, what is missing is made, and all of it told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench import dashboards
from gatebench.bench import keys
from gatebench.bench.analysis import saved_runs
from gatebench.bench.analysis import summary as summaries
from gatebench.bench.analysis.saved_runs import BUILT
from gatebench.bench.console import PLAIN, harmless
from gatebench.bench.cost.calibration import records, remember, timed
from gatebench.bench.cost.estimate import lengths_of, order_to_start
from gatebench.bench.cost.workers import largest_memory, machine_of, resources_at
from gatebench.bench.data.source import file_digest
from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Damaged, Event, Outcome
from gatebench.bench.executors.loop import check_store, execute
from gatebench.bench.executors.progress import Progress
from gatebench.bench.executors.registry import LOCAL, get_executor, make_executor
from gatebench.bench.plan.graph import Plan, Sources
from gatebench.bench.plan.hub import check_hub
from gatebench.bench.plan.readable import check_rows
from gatebench.bench.plan.resolve import check_data
from gatebench.bench.plan.runnable import check_recipes, not_runnable_here
from gatebench.bench.run.gate_watch import GateWatch
from gatebench.bench.run.live_report import LiveReport
from gatebench.bench.run.registration import dropped_cells, register_claims, with_registered
from gatebench.bench.secrets import without_secrets
from gatebench.bench.stages.registry import run_of_kind
from gatebench.bench.stages.stage import Run
from gatebench.bench.store.files import alone, write_json, write_text
from gatebench.bench.store.runs import publish_run
from gatebench.bench.store.sending import arrived_among, catch_up, is_unsent
from gatebench.bench.store.store import Store
from gatebench.bench.tracking.delivery import tracking_uri
from gatebench.bench.tracking.tracker import Tracker
from gatebench.dashboards.report import REPORT_FILE, write_report

BUILDING = ".building"  # in a run's folder: held (flock) while it is written

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Prepared:
    """A suite file read, resolved and planned, and the folder of its results. text: of the file, as it was read;
    command: that makes this run, with its profile and settings."""

    file: Path
    text: str
    plan: Plan
    sources: Sources
    results: Path
    command: str = ""

    @property
    def store(self) -> Store:
        return Store(self.results / "store")

    @property
    def folder(self) -> Path:
        """Where this run's results go; equal cells have an equal folder."""
        return self.results / "runs" / self.plan.suite / summaries.run_id(self.plan)

    @property
    def missing(self) -> int:
        """How many stages are not finished."""
        return len(self.plan.nodes) - len(self.store.finished_among(self.plan.addresses))


@dataclass(frozen=True)
class Done:
    """What a run made and where it is. tracked: MLflow's address, or why nothing could be written there."""

    summary: summaries.Summary
    outcome: Outcome
    report: Path
    tracked: str
    seconds: float


@dataclass(frozen=True)
class Manner:
    """How a suite is run; nothing of it changes what comes out. executor: its name; address: of its cluster; run_of:
    what makes a stage of a kind; live: the report is kept up to date meanwhile."""

    workers: int | None = None
    fail_fast: bool = False
    live: bool = False
    executor: str = LOCAL
    address: str | None = None
    run_of: Callable[[str], Run] = run_of_kind


Watcher = GateWatch | Tracker | LiveReport


def run(prepared: Prepared, err: Console, manner: Manner = Manner()) -> Done:
    """Make every missing stage, then summary, report and MLflow runs. err: where progress is shown.

    Raises KeyboardInterrupt through, with all workers stopped; DiskFull when nothing more can be written.
    """
    if prepared.missing:
        _check_sources(prepared, manner)
    prepared.store.root.mkdir(parents=True, exist_ok=True)
    with prepared.store.in_use():
        catch_up(prepared.store)
        return _run(prepared, err, manner)


def _check_sources(prepared: Prepared, manner: Manner) -> None:
    """Refuse, before anything runs, what the missing stages could not be made from, or on this machine."""
    plan, store = prepared.plan, prepared.store
    check_recipes(plan, prepared.sources)
    if manner.executor == LOCAL and (lacking := not_runnable_here(plan)):
        raise UserError(*lacking)
    check_data(prepared.sources)
    check_hub(plan, plan.nodes.keys() - store.finished_among(plan.addresses), prepared.file)
    check_rows(plan, prepared.sources)


def _run(prepared: Prepared, err: Console, manner: Manner) -> Done:
    started = time.monotonic()
    plan, store = prepared.plan, prepared.store
    tracker = Tracker(plan, store, prepared.folder, summaries.run_id(plan), tracking_uri(prepared.results))
    damaged = check_store(prepared.plan, prepared.store)
    arrived = arrived_among(store, plan.addresses)
    if not damaged and len(arrived) == len(plan.nodes) and _built(prepared):
        summary, outcome = summaries.read_summary(prepared.folder), Outcome(cached=set(prepared.plan.nodes))
    else:
        watchers: list[Watcher] = [GateWatch(plan, store, partial(_caution, err)), tracker]
        watchers += [_live(prepared, tracker, err)] if manner.live else []
        outcome = _make_stages(prepared, err, manner, damaged, watchers)
        if get_executor(manner.executor).room is None:  # a cluster's times say nothing of this machine
            remember(timed(plan, store, outcome.ran), store, machine_of(plan))
        summary, _ = build(prepared, outcome, tracker.results)
    tracked = tracker.finish(summary, partial(err.print, **PLAIN))
    return Done(summary, outcome, prepared.folder / REPORT_FILE, tracked, time.monotonic() - started)


def results_of(
    prepared: Prepared, outcome: Outcome | None = None, known: Mapping[str, summaries.CellResult] | None = None
) -> summaries.Summary:
    """`summarize`, with what is known of when the claims were made."""
    plan, store, results = prepared.plan, prepared.store, prepared.results
    dropped = dropped_cells(plan, store, results)
    found = summaries.summarize(plan, store, outcome, known, dropped)
    return with_registered(found, plan, store, results, dropped)


def _caution(err: Console, sentence: str) -> None:
    err.print(f"caution: {harmless(sentence)}", style="yellow", **PLAIN)


def _live(prepared: Prepared, tracker: Tracker, err: Console) -> LiveReport:
    store, folder = prepared.store, prepared.folder
    say = partial(err.print, **PLAIN)
    say(f"report, kept up to date while the run goes on: {folder / REPORT_FILE}")

    def rebuild() -> None:
        with alone(folder / BUILDING):
            summary = results_of(prepared, known=dict(tracker.results))
            write_report(summary, store, folder, prepared.command, live=True)

    return LiveReport(rebuild, say)


def build(
    prepared: Prepared, outcome: Outcome | None = None, known: Mapping[str, summaries.CellResult] | None = None
) -> tuple[summaries.Summary, Path]:
    """Write all that a run's folder holds; returns its results and the report.

    The store is read and the folder written under one lock, so that who writes last has seen the most: else a report
    that read an unfinished store could overwrite what a run beside it wrote at its end.
    """
    with alone(prepared.folder / BUILDING):
        sent = not any(is_unsent(prepared.store, kind, key) for kind, key in prepared.plan.addresses)
        summary = results_of(prepared, outcome, known)
        report = _write(summary, prepared, sent)
        publish_run(prepared.folder)
        return summary, report


def _write(summary: summaries.Summary, prepared: Prepared, sent: bool) -> Path:
    """sent: whether what it was read from is where all can have it, so that it counts."""
    folder = prepared.folder
    (folder / BUILT).unlink(missing_ok=True)
    summaries.write_summary(summary, prepared.plan, folder)
    report = write_report(summary, prepared.store, folder, without_secrets(prepared.command))
    write_text(folder / "suite.yaml", without_secrets(prepared.text))
    whole = sent and all(cell.status == "finished" and cell.reason is None for cell in summary.cells)
    write_json(folder / BUILT, {**(_maker(prepared) if whole else {}), "files": saved_runs.digests(folder)})
    return report


def _built(prepared: Prepared) -> bool:
    """Whether this code wrote the folder from all of the run's cells, so that nothing in it can be out of date, and it
    still is what was written."""
    try:
        found = json.loads((prepared.folder / BUILT).read_bytes())
        whole: bool = found == {**_maker(prepared), "files": saved_runs.digests(prepared.folder)}
    except (OSError, ValueError, RecursionError):
        return False
    return whole


def _maker(prepared: Prepared) -> dict[str, str]:
    """What a run's folder follows from besides its cells."""
    plan = prepared.plan
    claims, remedies = [claim.model_dump() for claim in plan.claims], [*plan.remedies.items()]
    judged = keys.digest([claims, plan.tuned_on, remedies])
    return {"code": _code(), "judged": judged}


@cache
def _code() -> str:
    """A digest of the code that turns stages into results."""
    roots = [Path(__file__).parents[1], Path(dashboards.__file__).parent]
    files = [
        file for root in roots for file in sorted(root.rglob("*")) if file.suffix in (".py", ".html", ".css", ".js")
    ]
    return keys.digest([(file.name, file_digest(str(file))) for file in files])


def _make_stages(
    prepared: Prepared,
    err: Console,
    manner: Manner,
    damaged: Sequence[Damaged],
    watchers: Sequence[Watcher],
) -> Outcome:
    plan, store = prepared.plan, prepared.store
    finished = arrived_among(store, plan.addresses)
    missing = len(plan.nodes) - len(finished)
    if missing and damaged:
        _check_sources(prepared, manner)
    register_claims(plan, store, prepared.results)
    if not missing:
        return Outcome(cached=set(plan.nodes))
    prepared.folder.mkdir(parents=True, exist_ok=True)
    where, memory = (manner.executor, manner.address), largest_memory(plan)
    wanted = [node.devices for key, node in plan.nodes.items() if key not in finished]
    resources = resources_at(
        *where, plan.at_once, memory, prepared.folder / "logs", manner.workers, sum(wanted), max(wanted)
    )
    count = resources.workers
    err.print(f"{len(plan.cells)} cells, {missing} of {len(plan.nodes)} stages to run, {count} workers", **PLAIN)
    lengths = lengths_of(plan, finished, records(store, machine_of(plan)))
    order = order_to_start(plan, lengths, count)
    executor = make_executor(resources, manner.executor, manner.run_of)
    try:
        log = prepared.folder / "log.jsonl"
        with Progress(plan, store, count, err, log, lengths) as progress, ExitStack() as stack:
            for watcher in watchers:
                stack.enter_context(watcher)

            def listen(event: Event) -> None:
                progress(event)
                for watcher in watchers:
                    watcher(event)

            for event in damaged:
                progress(event)
            return execute(plan, store, executor, listen, manner.fail_fast, order)
    finally:
        executor.close()
