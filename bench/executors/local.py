"""Stages on this machine: spawned processes that stay warm, one device each where there are GPUs.

A stage of several devices runs in one of them, which starts processes of its own, and takes as many places: the others
stay idle meanwhile and lend it their GPUs.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from gatebench.bench.executors.api import (
    LOOK,
    ExecutorKind,
    Failed,
    Failure,
    Made,
    OutOfDisk,
    Progressed,
    Resources,
    Told,
)
from gatebench.bench.executors.worker import FromWorker, Job, Reported, Succeeded, Unable, run_jobs
from gatebench.bench.machine import visible
from gatebench.bench.plan.graph import Node
from gatebench.bench.process import obituary
from gatebench.bench.stages.stage import Run


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    node: Node | None = None
    place: Path | None = None
    lent_to: _Worker | None = None


@dataclass(frozen=True)
class _Waiting:
    """A stage that was started and waits until as many workers are idle as it takes places."""

    node: Node
    place: Path
    inputs: Mapping[str, Path]


class LocalExecutor:
    """Processes that stay warm; a killed one fails its stage only and is replaced."""

    def __init__(self, resources: Resources, run_of: Callable[[str], Run]) -> None:
        self.resources, self.run_of = resources, run_of
        self.context = multiprocessing.get_context("spawn")
        resources.logs.mkdir(parents=True, exist_ok=True)
        self.workers = [self._spawn(index) for index in range(resources.workers)]
        self.waiting: _Waiting | None = None

    def _spawn(self, index: int) -> _Worker:
        ours, theirs = self.context.Pipe()
        given = self.resources
        device = index % given.devices if given.devices else None
        log = given.logs / f"worker-{index}.log"
        process = self.context.Process(target=run_jobs, args=(theirs, given.threads, device, log), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @property
    def _idle(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.node is None and worker.lent_to is None]

    def has_room(self) -> bool:
        return self.waiting is None and bool(self._idle)

    def start(self, node: Node, place: Path, inputs: Mapping[str, Path]) -> None:
        self.waiting = _Waiting(node, place, inputs)
        self._begin()

    def _begin(self) -> None:
        """What waits for workers, if they are idle; nothing passes it meanwhile."""
        if self.waiting is None:
            return
        node, place, inputs = self.waiting.node, self.waiting.place, self.waiting.inputs
        taken = self._idle[: min(node.devices, len(self.workers))]
        if len(taken) < min(node.devices, len(self.workers)):
            return
        self.waiting, worker = None, taken[0]
        worker.node, worker.place = node, place
        for other in taken[1:]:
            other.lent_to = worker
        gpus = visible(self._gpus(taken, node.devices)) if node.devices > 1 and self.resources.devices else None
        worker.connection.send(Job(self.run_of(node.kind), node.spec, dict(inputs), place, gpus))

    def _gpus(self, taken: Sequence[_Worker], count: int) -> list[int]:
        """Those of the workers that a stage takes; where these have fewer, others, first such that no worker has."""
        all_of, own = self.resources.devices, [self.workers.index(worker) for worker in taken]
        owned = [index % all_of for index in range(len(self.workers))]
        order = [*(index % all_of for index in own), *sorted(range(all_of), key=lambda gpu: gpu in owned)]
        return list(dict.fromkeys(order))[:count]

    def _end(self, worker: _Worker) -> None:
        """Its places are free again."""
        worker.node = worker.place = None
        for other in self.workers:
            if other.lent_to is worker:
                other.lent_to = None
        self._begin()

    def results(self) -> Iterator[Told]:
        busy = [worker for worker in self.workers if worker.node is not None]
        for connection in wait([worker.connection for worker in busy], LOOK):
            worker = next(worker for worker in busy if worker.connection is connection)
            assert worker.node is not None
            assert worker.place is not None
            node, place = worker.node, worker.place
            try:
                reply: FromWorker = worker.connection.recv()
            except (EOFError, ConnectionResetError):  # the latter where something of ours was not read yet
                worker.process.join()
                self.workers[self.workers.index(worker)] = self._spawn(self.workers.index(worker))
                self._end(worker)
                yield Failed(node, Failure(node.kind, node.key, obituary(worker.process.exitcode)))
                continue
            if isinstance(reply, Reported):
                yield Progressed(node, reply.share, reply.text)
                continue
            self._end(worker)
            if isinstance(reply, Succeeded):
                yield Made(node, place, reply.facts)
                continue
            if not (isinstance(reply, Unable) and reply.goes_on):  # only a killed stage has something to go on from
                shutil.rmtree(place, ignore_errors=True)
            if isinstance(reply, Unable):
                yield Failed(node, Failure(node.kind, node.key, reply.sentence, reply.tail))
            else:
                yield OutOfDisk(node)

    def close(self) -> None:
        """End idle workers; stop those that still work."""
        for worker in self.workers:
            if worker.node is None and worker.process.is_alive():
                worker.connection.send(None)
            else:
                worker.process.terminate()
            worker.connection.close()
        for worker in self.workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
        self.workers = []


EXECUTOR = ExecutorKind("local", LocalExecutor)
