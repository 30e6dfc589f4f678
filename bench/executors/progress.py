"""What the user sees while a suite runs: one live bar on a terminal, plain lines elsewhere (both on stderr)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gatebench.bench.executors.loop import Event
from gatebench.bench.plan.graph import Node, Plan
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

# Relative costs until the first stage of a kind has been timed.
GUESS = {"base": 8.0, "warmup": 3.0, "reference": 1.0, "train": 8.0, "dynamics": 4.0}
PACE_KNOWN = 0.03  # from this share on, a running stage's own pace is the best witness
SECONDS_BETWEEN_LINES = 15.0
PLAIN: Any = {"highlight": False, "markup": False, "soft_wrap": True}  # a sentence printed as it is


class Clock:
    """Remaining seconds of a plan: stages timed in this run speak for stages of their kind and model."""

    def __init__(self, plan: Plan, store: Store, workers: int) -> None:
        self.workers = workers
        self.models = {key: cell.model for cell in reversed(plan.cells) for key in cell.stages.values()}
        finished = store.finished_among(plan.addresses)
        self.waiting = {key: node for key, node in plan.nodes.items() if key not in finished}
        self.shares: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self.timed: dict[tuple[str, str], list[float]] = {}

    def _group(self, node: Node) -> tuple[str, str]:
        start = node.kind == "dynamics" and len(node.inputs) == 1
        return ("start" if start else node.kind, self.models.get(node.key, ""))

    def note(self, event: Event, now: float) -> None:
        key = event.node.key
        if event.what == "started":
            self.started[key] = now
        elif event.what == "progress":
            self.shares[key] = event.share
        else:
            if event.what == "finished":
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
        kind = [s for (k, _), seconds in self.timed.items() if k == self._group(node)[0] for s in seconds]
        if kind:
            return sum(kind) / len(kind)
        unit = [s / GUESS.get(k, 1.0) for (k, _), seconds in self.timed.items() for s in seconds]
        unit += [(now - self.started[k]) / share / GUESS.get(self.waiting[k].kind, 1.0)
                 for k, share in self.shares.items() if share > PACE_KNOWN and k in self.waiting]  # fmt: skip
        return GUESS.get(node.kind, 1.0) * sum(unit) / len(unit) if unit else None

    def remaining(self, now: float) -> float | None:
        """Seconds until the end with all workers busy; None before anything was timed."""
        total = 0.0
        for key, node in self.waiting.items():
            expected = self.expected(node, now)
            if expected is None:
                return None
            total += expected * (1 - self.shares.get(key, 0.0))
        return total / min(self.workers, max(1, len(self.waiting)))


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
        now = time.monotonic()
        if event.what == "damaged":
            self._write(event)
            self.console.print(f"{event.node.kind} {event.node.key}: {event.text}; it is made again", **PLAIN)
            return
        self.clock.note(event, now)
        label = f"{event.node.kind} {self.clock.models.get(event.node.key, '')} {event.text}".strip()
        if event.what in ("started", "progress"):
            self.running[event.node.key] = label
        else:
            self.running.pop(event.node.key, None)
        if event.what != "progress":
            self._write(event)
        done = self.total - len(self.clock.waiting)
        if self.console.is_terminal:
            self.bar.update(
                self.task, completed=done + sum(self.clock.shares.get(k, 0) for k in self.running),
                cells=self._cells(), left=self._left(now), description=" | ".join(self.running.values()),
            )  # fmt: skip
        elif event.what == "failed" or now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            doing = " | ".join(self.running.values()) or label
            parts = filter(None, (self._cells(), f"stages {done}/{self.total}", self._left(now)))
            self.console.print(f"{', '.join(parts)}: {doing}", **PLAIN)

    def _write(self, event: Event) -> None:
        record = {"time": time.time(), "what": event.what, "kind": event.node.kind, "key": event.node.key}
        self.log.write(json.dumps({**record, "text": event.text}) + "\n")

    def _cells(self) -> str:
        done = sum(not any(key in self.clock.waiting for key in keys) for keys in self.cells.values())
        return f"cells {done}/{len(self.cells)}" if self.cells else ""

    def _left(self, now: float) -> str:
        left = self.clock.remaining(now)
        if left is None:
            return "time left: measuring"
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
