"""What an executor is and what it tells: stages run somewhere, and typed events say what became of them.

A new executor is one file in this folder that ends in `EXECUTOR = ExecutorKind(name, make)`; one of another package is
the same behind an entry point of the group `gatebench.executors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gatebench.bench.plan.graph import Node
from gatebench.bench.stages.stage import Facts, Run

LOOK = 0.5  # seconds without news after which an executor returns to the loop, which may have something else to do


@dataclass(frozen=True)
class Failure:
    """A stage that gave no result. tail: the last lines of its process's output."""

    kind: str
    key: str
    message: str
    tail: str = ""


@dataclass(frozen=True)
class Started:
    node: Node


@dataclass(frozen=True)
class Progressed:
    """share: of the stage, in [0, 1]; text: what it does now."""

    node: Node
    share: float
    text: str


@dataclass(frozen=True)
class Made:
    """A stage whose files are whole in `place`, not yet in the store."""

    node: Node
    place: Path
    facts: Facts


@dataclass(frozen=True)
class Finished:
    """A stage that is in the store now."""

    node: Node


@dataclass(frozen=True)
class Failed:
    node: Node
    failure: Failure


@dataclass(frozen=True)
class Elsewhere:
    """A stage that another run on this store finished meanwhile."""

    node: Node


@dataclass(frozen=True)
class Skipped:
    """A stage that is not made, as one failed."""

    node: Node


@dataclass(frozen=True)
class OutOfDisk:
    """A stage that could not write what it made."""

    node: Node


@dataclass(frozen=True)
class Damaged:
    """A stage of which a file is not what its manifest says; place: where it was set aside."""

    node: Node
    place: Path


Told = Progressed | Made | Failed | OutOfDisk  # by an executor to the loop
Event = Started | Progressed | Finished | Elsewhere | Failed | Skipped | Damaged  # by the loop to those who watch a run
Listener = Callable[[Event], None]


@dataclass
class Outcome:
    """What a run did: keys by what became of them."""

    ran: set[str] = field(default_factory=set)
    cached: set[str] = field(default_factory=set)
    failed: dict[str, Failure] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


class Executor(Protocol):
    """Where stages run."""

    def has_room(self) -> bool:
        """Whether another stage can be started now."""

    def start(self, node: Node, place: Path, inputs: Mapping[str, Path]) -> None:
        """Begin a stage: place is the empty folder to write into, inputs the folders of finished stages by role."""

    def results(self) -> Iterator[Told]:
        """What happened since; waits for it, LOOK seconds at most. A stage ends with one Made, Failed or OutOfDisk."""

    def close(self) -> None:
        """Stop all that runs; nothing of it writes afterwards."""


@dataclass(frozen=True)
class Resources:
    """What an executor may use. workers: stages at once; threads: of each; devices: GPUs; logs: a folder for the
    output of its processes; memory: bytes that the largest stage takes, 0 where that is not known; address: of the
    cluster, for an executor that has one; width: devices that a worker there holds, those of the widest stage."""

    workers: int
    threads: int
    devices: int
    logs: Path
    memory: int = 0
    address: str | None = None
    width: int = 1


@dataclass(frozen=True)
class ExecutorKind:
    """make: (resources, what makes a stage of a kind) -> an executor that is ready. room: of one that runs stages on
    other machines, (address, threads that a worker has here, bytes that it takes, devices that it holds) -> (workers,
    threads a device, GPUs) there."""

    name: str
    make: Callable[[Resources, Callable[[str], Run]], Executor]
    room: Callable[[str | None, int, int, int], tuple[int, int, int]] | None = None
