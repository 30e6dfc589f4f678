"""What the user sees while a suite runs: one live bar on a terminal, plain lines elsewhere (both on stderr)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from gatebench.bench.console import PLAIN
from gatebench.bench.executors.api import Damaged, Event, Failed, Finished, Progressed, Started
from gatebench.bench.plan.graph import Node, Plan
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

PACE_KNOWN = 0.03  # from this share on, a running stage's own pace is the best witness
SECONDS_BETWEEN_LINES = 15.0


class Clock:
    """Remaining seconds of a plan: stages timed in this run speak for stages of their kind and model."""

    def __init__(self, plan: Plan, store: Store, workers: int) -> None:
        self.workers = workers
        self.models = {key: cell.model for cell in reversed(plan.cells) for key in cell.stages.values()}
        finished = store.finished_among(plan.addresses)
        self.waiting = {key: node for key, node in plan.nodes.items() if key not in finished}
        self.shares: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self.timed: dict[tuple[str, int, str], list[float]] = {}

    def _group(self, node: Node) -> tuple[str, int, str]:
        """Stages that take about as long; dynamics at step 0 have fewer inputs than those of a trained policy."""
        return (node.kind, len(node.inputs), self.models.get(node.key, ""))

    def note(self, event: Event, now: float) -> None:
        key = event.node.key
        if isinstance(event, Started):
            self.started[key] = now
        elif isinstance(event, Progressed):
            self.shares[key] = event.share
        else:
            if isinstance(event, Finished):
                self.timed.setdefault(self._group(event.node), []).append(now - self.started[key])
            self.waiting.pop(key, None)

    def expected(self, node: Node, now: float) -> float | None:
        """Seconds a stage takes: by its own pace, by its kind and model, by its kind, else by the guess of all."""
        share = self.shares.get(node.key, 0.0)
        if share > PACE_KNOWN:
            return (now - self.started[node.key]) / share
        own = self.timed.get(self._group(node))
        if own:
            return sum(own) / len(own)
        kind = [s for group, seconds in self.timed.items() if group[:2] == self._group(node)[:2] for s in seconds]
        if kind:
            return sum(kind) / len(kind)
        unit = [s / stage_of(k).guess for (k, *_), seconds in self.timed.items() for s in seconds]
        unit += [(now - self.started[k]) / share / stage_of(self.waiting[k].kind).guess
                 for k, share in self.shares.items() if share > PACE_KNOWN and k in self.waiting]  # fmt: skip
        return stage_of(node.kind).guess * sum(unit) / len(unit) if unit else None

    def remaining(self, now: float) -> float | None:
        """Seconds until the end with all workers busy; None before anything was timed."""
        total, places = 0.0, 0
        for key, node in self.waiting.items():
            expected = self.expected(node, now)
            if expected is None:
                return None
            own = min(node.devices, self.workers)
            total, places = total + own * expected * (1 - self.shares.get(key, 0.0)), places + own
        return total / min(self.workers, max(1, places))


class Progress:
    """Listens to a run; also writes its events to log.jsonl."""

    def __init__(self, plan: Plan, store: Store, workers: int, console: Console, log: Path) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self.plan, self.store, self.console = plan, store, console
        self.clock = Clock(plan, store, workers)
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
                cells=self._cells(), left=self._left(now), description=" | ".join(self.running.values()),
            )  # fmt: skip
        elif isinstance(event, Failed) or now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            doing = " | ".join(self.running.values()) or label
            parts = filter(None, (self._cells(), f"stages {done}/{self.total}", self._left(now)))
            self.console.print(f"{', '.join(parts)}: {doing}", **PLAIN)

    def _write(self, event: Event) -> None:
        record = {"time": time.time(), "what": type(event).__name__.lower(), "kind": event.node.kind}
        self.log.write(json.dumps({**record, "key": event.node.key, "text": _text(event)}) + "\n")

    def _cells(self) -> str:
        done = sum(not any(key in self.clock.waiting for key in keys) for keys in self.cells.values())
        return f"cells {done}/{len(self.cells)}" if self.cells else ""

    def _left(self, now: float) -> str:
        left = self.clock.remaining(now)
        if left is None:
            return "time left: measuring"
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"


def _text(event: Event) -> str:
    """What an event says beside the stage it is about."""
    if isinstance(event, Progressed):
        return event.text
    if isinstance(event, Failed):
        return event.failure.message
    if isinstance(event, Damaged):
        return f"a file is not what its manifest says; set aside as {event.place}"
    return ""
