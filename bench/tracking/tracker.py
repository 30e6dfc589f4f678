"""What a run tells MLflow while it goes on: each cell as soon as it is finished, the machine's load, at the end the
parent run. It works beside the run, which waits for none of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from gatebench.bench.analysis.summary import CellResult, Summary, cell_result
from gatebench.bench.errors import is_disk_full
from gatebench.bench.executors.api import Elsewhere, Event, Finished
from gatebench.bench.plan.graph import Cell, Plan
from gatebench.bench.secrets import without_secrets
from gatebench.bench.store.sending import arrived_among
from gatebench.bench.store.store import Store
from gatebench.bench.tracking.delivery import import_mlflow, why_not_written
from gatebench.bench.tracking.entries import Entry, cell_entry, cell_mark, parent_entry, system_entry
from gatebench.bench.tracking.spool import Say, Spool

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

SECONDS_BETWEEN_SAMPLES = 10.0
SECONDS_OF_PATIENCE = 20.0  # at the end of a run, for a server that does not answer


class Tracker:
    """Listens to a run. results: the finished cells with their metrics, so that they are computed once."""

    def __init__(self, plan: Plan, store: Store, folder: Path, run: str, uri: str) -> None:
        self.plan, self.store, self.folder, self.run, self.uri = plan, store, folder, run, uri
        self.results: dict[str, CellResult] = {}
        self._left: dict[str, set[str]] = {}
        self._cells: dict[str, list[Cell]] = {}
        self._finished: queue.Queue[Cell | None] = queue.Queue()
        self._spool: Spool | None = None
        self._trouble: Exception | None = None
        self._thread: threading.Thread | None = None

    @property
    def spool(self) -> Spool:
        if self._spool is None:
            self._spool = Spool(self.folder, self.uri)
        return self._spool

    def __enter__(self) -> Tracker:
        done = arrived_among(self.store, self.plan.addresses)
        for cell in self.plan.cells:
            self._left[cell.id] = {key for key in cell.stages.values() if key not in done}
            for key in self._left[cell.id]:
                self._cells.setdefault(key, []).append(cell)
        self._thread = threading.Thread(target=self._loop, name="tracker", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.put(None)
        if self._thread:
            self._thread.join()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Finished | Elsewhere):
            return
        for cell in self._cells.get(event.node.key, ()):
            left = self._left[cell.id]
            left.discard(event.node.key)
            if not left:
                self._finished.put(cell)

    def _loop(self) -> None:
        load: Callable[[], dict[str, float]] | None = None
        sample, due = 0, time.monotonic() + SECONDS_BETWEEN_SAMPLES
        while True:
            try:
                if time.monotonic() >= due:
                    due += SECONDS_BETWEEN_SAMPLES
                    load = load or _load()
                    self.spool.put(system_entry(self.plan.suite, self.run, sample, load()))
                    sample += 1
                cell = self._finished.get(timeout=max(0.0, due - time.monotonic()))
                if cell is None:
                    return
                self._tell(cell)
            except queue.Empty:
                pass
            except Exception as error:  # told at the end; the run itself lacks nothing
                self._trouble = error

    def _tell(self, cell: Cell) -> None:
        result = cell_result(cell, self.plan, self.store)
        self.results[cell.id] = result
        self.spool.put(cell_entry(result, self.plan, self.run, self.store))

    def finish(self, summary: Summary, say: Say) -> str:
        """Deliver what is not there yet, the parent run last. Returns MLflow's address, or why something is missing."""
        cells = (
            cell_entry(cell, self.plan, self.run, self.store)
            for cell in summary.finished
            if not self.spool.has(cell_mark(cell, self.plan.suite, self.run))
        )
        return _deliver(chain(cells, [parent_entry(summary, self.plan, self.folder)]), self.spool, say, self._trouble)


def deliver(entries: Iterable[Entry], folder: Path, uri: str, say: Say) -> str:
    """Have entries delivered by way of a folder's spool. Returns MLflow's address, or why something is missing."""
    return _deliver(entries, Spool(folder, uri), say)


def _deliver(entries: Iterable[Entry], spool: Spool, say: Say, trouble: Exception | None = None) -> str:
    """Raises what a full disk raised."""
    shown = without_secrets(spool.uri)
    try:
        for entry in entries:
            spool.put(entry)
        waiting = spool.close(SECONDS_OF_PATIENCE, say)
    except Exception as error:
        return why_not_written(shown, error)
    trouble = spool.trouble or trouble
    if trouble and is_disk_full(trouble):
        raise trouble
    if spool.unreadable:
        say(
            f"MLflow: {len(spool.unreadable)} entries in {spool.folder} were damaged and set aside, "
            f"{spool.unreadable[0]} first; what they told of cells is told again"
        )
    if spool.refused:
        return f"{shown} refused some of {len(spool.refused)} runs, the first: {spool.refused[0]}"
    if waiting and trouble:
        return f"{why_not_written(shown, trouble)} the {waiting} entries that wait in {spool.folder}"
    return shown


def _load() -> Callable[[], dict[str, float]]:
    """MLflow's own monitors of the processor, the memory and the GPUs, as one function."""
    import_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    monitors: list[BaseMetricsMonitor] = [CPUMonitor()]
    with suppress(Exception):  # no GPU, or no library that reads one
        monitors.append(GPUMonitor())

    def load() -> dict[str, float]:
        found: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return found

    return load
