"""What the user sees while a suite runs: one live bar on a terminal, plain lines elsewhere (both on stderr)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from gatebench.bench.console import PLAIN
from gatebench.bench.executors.api import Damaged, Elsewhere, Event, Failed, Progressed, Skipped, Started
from gatebench.bench.executors.clock import Clock, StageLengths, in_words
from gatebench.bench.plan.graph import Plan
from gatebench.bench.store.sending import arrived_among
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Listens to a run; also writes its events to log.jsonl. lengths: of the stages, as far as they can be foreseen."""

    def __init__(
        self, plan: Plan, store: Store, workers: int, console: Console, log: Path, lengths: StageLengths | None = None
    ) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self.console = console
        self.clock = Clock(plan, arrived_among(store, plan.addresses), workers, lengths)
        self.total = len(self.clock.waiting)
        self.last_line = 0.0
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("a", buffering=1, encoding="utf-8")
        self.running: dict[str, str] = {}
        self.cells = {cell.id: [n.key for n in plan.needed_by(cell)] for cell in plan.cells}
        columns = (
            "[bold]{task.fields[cells]}",
            "stages {task.completed:.0f}/{task.total:.0f}",
            "{task.fields[left]}",
            "[dim]{task.description}",
        )
        self.bar = Bar(
            TextColumn(columns[0]), BarColumn(), *map(TextColumn, columns[1:]), console=console, transient=True
        )

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task("starting", total=self.total, cells=self._cells(), left="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()
        self.log.close()

    def __call__(self, event: Event) -> None:
        now, node = time.monotonic(), event.node
        if not isinstance(event, Progressed):
            self._write(event)
        if isinstance(event, Damaged):
            self.console.print(f"{node.kind} {node.key}: {_text(event)}; it is made again", **PLAIN)
            return
        self.clock.note(event, now)
        label = f"{node.kind} {self.clock.models.get(node.key, '')} {_text(event)}".strip()
        if isinstance(event, Started | Progressed):
            self.running[node.key] = label
        else:
            self.running.pop(node.key, None)
        done = self.total - len(self.clock.waiting)
        if self.console.is_terminal:
            self.bar.update(
                self.task, completed=done + sum(self.clock.shares.get(k, 0) for k in self.running),
                cells=self._cells(), left=in_words(self.clock.remaining(now)),
                description=" | ".join(self.running.values()),
            )  # fmt: skip
        elif isinstance(event, Failed) or now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            doing = " | ".join(self.running.values()) or label
            parts = filter(None, (self._cells(), f"stages {done}/{self.total}", in_words(self.clock.remaining(now))))
            self.console.print(f"{', '.join(parts)}: {doing}", **PLAIN)

    def _write(self, event: Event) -> None:
        record = {"time": time.time(), "what": type(event).__name__.lower(), "kind": event.node.kind}
        self.log.write(json.dumps({**record, "key": event.node.key, "text": _text(event)}) + "\n")

    def _cells(self) -> str:
        done = sum(not any(key in self.clock.waiting for key in keys) for keys in self.cells.values())
        return f"cells {done}/{len(self.cells)}" if self.cells else ""


def _text(event: Event) -> str:
    """What an event says beside the stage it is about."""
    if isinstance(event, Progressed):
        return event.text
    if isinstance(event, Failed):
        return event.failure.message
    if isinstance(event, Elsewhere):
        return "made by another run"
    if isinstance(event, Skipped):
        return "skipped, as a stage failed"
    if isinstance(event, Damaged):
        return f"a file is not what its manifest says; set aside as {event.place}"
    return ""
