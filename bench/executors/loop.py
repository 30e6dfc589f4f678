"""The shared loop: stages run as soon as their inputs are finished; a failed stage skips what rests on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Protocol

from gatebench.bench.errors import DiskFull
from gatebench.bench.plan.graph import Node, Plan, identity
from gatebench.bench.stages.stage import code_revision
from gatebench.bench.store.store import Lock, Store

SECONDS_BETWEEN_LOOKS = 0.2  # at a stage that another run on the same store is making


@dataclass(frozen=True)
class Failure:
    """A stage that gave no result. tail: the last lines of its process's output."""

    kind: str
    key: str
    message: str
    tail: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage: what is "started", "progress", "finished", "failed", "damaged"."""

    what: str
    node: Node
    share: float = 0.0
    text: str = ""


@dataclass
class Outcome:
    """What a run did: keys by what became of them."""

    ran: set[str] = field(default_factory=set)
    cached: set[str] = field(default_factory=set)
    failed: dict[str, Failure] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


class Executor(Protocol):
    """Where stages run. `results` yields what happened since, and blocks while nothing did."""

    def has_room(self) -> bool: ...
    def start(self, node: Node, place: Any, inputs: Mapping[str, Any]) -> None: ...
    def results(self) -> Iterator[tuple[str, Node, Any]]: ...
    def close(self) -> None: ...


def check_store(plan: Plan, store: Store) -> list[Event]:
    """Set aside every damaged stage of the plan; one event each.

    What a stage to be run will read is hashed; for the rest, size and time of the files are believed.
    """
    finished = store.finished_among(plan.addresses)
    read = {i for key, node in plan.nodes.items() if key not in finished for _, _, i in node.inputs}
    events = []
    for key in finished:
        node = plan.nodes[key]
        if not store.is_sound(node.kind, key, thorough=key in read):
            place = store.set_aside(node.kind, key)
            events.append(Event("damaged", node, text=f"a file is not what its manifest says; set aside as {place}"))
    return events


def execute(
    plan: Plan, store: Store, executor: Executor, listen: Callable[[Event], None], fail_fast: bool = False
) -> Outcome:
    """Have every stage of the plan in the store; finished ones are not run again.

    Two runs on one store share the work: a stage that another one makes is waited for.
    """
    return _Run(plan, store, executor, listen, fail_fast).to_the_end()


class _Run:
    def __init__(
        self, plan: Plan, store: Store, executor: Executor, listen: Callable[[Event], None], fail_fast: bool
    ) -> None:
        self.plan, self.store, self.executor, self.listen, self.fail_fast = plan, store, executor, listen, fail_fast
        self.outcome = Outcome()
        self.locks: dict[str, Lock] = {}
        self.sorter = TopologicalSorter({key: [i for _, _, i in node.inputs] for key, node in plan.nodes.items()})
        self.order = {key: position for position, key in enumerate(plan.nodes)}

    def to_the_end(self) -> Outcome:
        self.sorter.prepare()
        ready: list[str] = []
        try:
            while self.sorter.is_active():
                ready += self.sorter.get_ready()
                ready = [key for key in sorted(ready, key=self.order.__getitem__) if not self._take(key)]
                if self.locks:
                    for what, node, value in self.executor.results():
                        self._note(what, node, value)
                elif ready:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except BaseException:
            self.executor.close()  # before the locks go: another run may take over at once
            raise
        finally:
            for lock in self.locks.values():
                lock.release()
        return self.outcome

    def _take(self, key: str) -> bool:
        """Settle or start a stage whose inputs are there; False leaves it for later."""
        node = self.plan.nodes[key]
        if any(i in self.outcome.failed or i in self.outcome.skipped for _, _, i in node.inputs):
            self.outcome.skipped.add(key)
        elif self.store.is_finished(node.kind, key):
            self.outcome.cached.add(key)
        elif self.fail_fast and self.outcome.failed:
            self.outcome.skipped.add(key)
        else:
            lock = self.store.lock(node.kind, key) if self.executor.has_room() else None
            if lock is None:
                return False
            if self.store.is_finished(node.kind, key):  # by another run, while this one was asking
                lock.release()
                self.outcome.cached.add(key)
            else:
                self.locks[key] = lock
                inputs = {role: self.store.path(kind, i) for role, kind, i in node.inputs}
                self.executor.start(node, self.store.begin(node.kind, key), inputs)
                self.listen(Event("started", node))
                return True
        self.sorter.done(key)
        return True

    def _note(self, what: str, node: Node, value: Any) -> None:
        if what == "progress":
            self.listen(Event("progress", node, *value))
            return
        if what == "full":
            raise DiskFull(self.store.root)
        if what == "done":
            place, facts = value
            manifest = {**identity(node.kind, node.spec, node.inputs), **facts, "code": code_revision()}
            remade = self.store.set_asides(node.kind, node.key)
            self.store.commit(place, node.kind, node.key, {**manifest, "remade": remade} if remade else manifest)
            self.outcome.ran.add(node.key)
            self.listen(Event("finished", node, 1.0))
        else:
            self.outcome.failed[node.key] = value
            self.listen(Event("failed", node, text=value.message))
        self.locks.pop(node.key).release()
        self.sorter.done(node.key)
