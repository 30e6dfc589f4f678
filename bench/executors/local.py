"""Stages on this machine: spawned processes that stay warm, one device each where there are GPUs."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from gatebench.bench.executors.api import (
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
from gatebench.bench.plan.graph import Node
from gatebench.bench.process import obituary
from gatebench.bench.stages.stage import Run


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    node: Node | None = None
    place: Path | None = None


class LocalExecutor:
    """Processes that stay warm; a killed one fails its stage only and is replaced."""

    def __init__(self, resources: Resources, run_of: Callable[[str], Run]) -> None:
        self.resources, self.run_of = resources, run_of
        self.context = multiprocessing.get_context("spawn")
        resources.logs.mkdir(parents=True, exist_ok=True)
        self.workers = [self._spawn(index) for index in range(resources.workers)]

    def _spawn(self, index: int) -> _Worker:
        ours, theirs = self.context.Pipe()
        given = self.resources
        device = index % given.devices if given.devices else None
        log = given.logs / f"worker-{index}.log"
        process = self.context.Process(target=run_jobs, args=(theirs, given.threads, device, log), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def has_room(self) -> bool:
        return any(worker.node is None for worker in self.workers)

    def start(self, node: Node, place: Path, inputs: Mapping[str, Path]) -> None:
        worker = next(worker for worker in self.workers if worker.node is None)
        worker.node, worker.place = node, place
        worker.connection.send(Job(self.run_of(node.kind), node.spec, dict(inputs), place))

    def results(self) -> Iterator[Told]:
        busy = [worker for worker in self.workers if worker.node is not None]
        for connection in wait([worker.connection for worker in busy]):
            worker = next(worker for worker in busy if worker.connection is connection)
            assert worker.node is not None
            assert worker.place is not None
            node, place = worker.node, worker.place
            try:
                reply: FromWorker = worker.connection.recv()
            except (EOFError, ConnectionResetError):  # the latter where something of ours was not read yet
                worker.process.join()
                self.workers[self.workers.index(worker)] = self._spawn(self.workers.index(worker))
                yield Failed(node, Failure(node.kind, node.key, obituary(worker.process.exitcode)))
                continue
            if isinstance(reply, Reported):
                yield Progressed(node, reply.share, reply.text)
                continue
            worker.node = worker.place = None
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
