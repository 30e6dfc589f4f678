"""The shared loop: stages run as soon as their inputs are finished; a failed stage skips what rests on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Protocol

from bench.plan import Node, Plan
from bench.stages.stage import library_versions
from bench.store import Store


@dataclass(frozen=True)
class Failure:
    """A stage that gave no result. tail: the last lines of its process's output."""

    kind: str
    key: str
    message: str
    tail: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage: what is "started", "progress", "finished" or "failed"."""

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


def execute(plan: Plan, store: Store, executor: Executor, listen: Callable[[Event], None]) -> Outcome:
    """Have every stage of the plan in the store; finished ones are not run again."""
    outcome = Outcome()
    sorter = TopologicalSorter({key: [i for _, _, i in node.inputs] for key, node in plan.nodes.items()})
    sorter.prepare()
    order = {key: position for position, key in enumerate(plan.nodes)}
    ready: list[str] = []
    running: set[str] = set()
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=order.__getitem__)
        for key in list(ready):
            node = plan.nodes[key]
            if any(i in outcome.failed or i in outcome.skipped for _, _, i in node.inputs):
                outcome.skipped.add(key)
            elif store.is_finished(node.kind, key):
                outcome.cached.add(key)
            elif executor.has_room():
                inputs = {role: store.path(kind, i) for role, kind, i in node.inputs}
                executor.start(node, store.begin(node.kind, key), inputs)
                running.add(key)
                ready.remove(key)
                listen(Event("started", node))
                continue
            else:
                continue
            ready.remove(key)
            sorter.done(key)
        if running:
            for what, node, value in executor.results():
                if what == "progress":
                    listen(Event("progress", node, *value))
                    continue
                running.discard(node.key)
                _settle(store, outcome, what, node, value, listen)
                sorter.done(node.key)
    return outcome


def _settle(store: Store, outcome: Outcome, what: str, node: Node, value: Any, listen: Callable[[Event], None]) -> None:
    if what == "done":
        place, facts = value
        manifest = {"inputs": {role: key for role, _, key in node.inputs}, "versions": library_versions(), **facts}
        store.commit(place, node.kind, node.key, manifest)
        outcome.ran.add(node.key)
        listen(Event("finished", node, 1.0))
    else:
        outcome.failed[node.key] = value
        listen(Event("failed", node, text=value.message))
