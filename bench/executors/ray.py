"""Stages on a Ray cluster: an actor a worker, each with one warm process of the local executor's on its node.

A stage runs in the same kind of process as on one machine, so bits, logs and failures are the same. A process that dies
costs its stage; only where the actor itself is gone, with its node, is the stage begun again elsewhere. The store is a
folder that every node sees.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import LOOK, ExecutorKind, Failed, Failure, Made, Progressed, Resources, Told
from gatebench.bench.executors.local import LocalExecutor
from gatebench.bench.executors.ray_cluster import connected, deciding_versions, room
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages.stage import Run
from gatebench.bench.store.files import remove
from gatebench.bench.store.remote import say
from gatebench.bench.store.store import clear

FIRST_WORKER = 600.0  # seconds until the first worker has to be there: others' work may be in its way
IN_SILENCE = 20.0  # seconds of these until it is said that one is waited for
FAREWELL = 15.0  # seconds that workers have for their end before they are killed
MOST_LOSSES = 3  # of a stage whose worker was lost, and of a worker that is lost before it is there


@dataclass(frozen=True)
class Greeting:
    """What a node is. sees: whether it has the driver's working directory and the run's folder; has: versions of what
    decides results."""

    node: str
    host: str
    sees: bool
    has: Mapping[str, str]


class Seat:
    """The actor. It does one thing at a time, in the thread that its process was started from."""

    def __init__(self) -> None:
        self.local: LocalExecutor | None = None

    def greet(self, resources: Resources, run_of: Callable[[str], Run], token: Path, home: Path) -> Greeting:
        import ray

        sees = token.exists() and home.is_dir()
        if sees:
            os.chdir(home)  # paths may be relative to it
            os.environ["OMP_NUM_THREADS"] = str(resources.threads)  # before its process loads anything that reads it
            self.local = LocalExecutor(resources, run_of)
        context = ray.get_runtime_context()
        return Greeting(context.get_node_id(), ray.util.get_node_ip_address(), sees, deciding_versions())

    def start(self, node: Node, place: Path, inputs: Mapping[str, Path]) -> list[Told]:
        assert self.local is not None
        self.local.start(node, place, inputs)
        return []

    def results(self) -> list[Told]:
        """What happened since; nothing after LOOK seconds without news."""
        assert self.local is not None
        news = wait([worker.connection for worker in self.local.workers], LOOK)
        return list(self.local.results()) if news else []

    def leave(self) -> None:
        if self.local is not None:
            self.local.close()


@dataclass(frozen=True)
class Begun:
    """A stage that was begun. losses: how often its worker was lost."""

    node: Node
    place: Path
    inputs: Mapping[str, Path]
    losses: int = 0


class ActorMethod(Protocol):
    """One of an actor's, as the driver calls it: what comes back stands for the answer."""

    def remote(self, *given: object) -> object: ...


class Actor(Protocol):
    """A Seat as the driver has it."""

    greet: ActorMethod
    start: ActorMethod
    results: ActorMethod
    leave: ActorMethod


@dataclass
class Worker:
    """An actor as the driver knows it. call: what it was asked last, None while it is idle; at: its node, once it is
    there."""

    actor: Actor
    call: object
    at: str | None = None
    work: Begun | None = None


class RayExecutor:
    """Warm actors; those of a lost node are replaced as soon as the cluster has room.

    Raises UserError where nodes cannot work for this run: none has room, or has another folder or other libraries.
    """

    def __init__(self, resources: Resources, run_of: Callable[[str], Run]) -> None:
        self.ray = connected(resources.address)
        self.resources, self.run_of = resources, run_of
        resources.logs.mkdir(parents=True, exist_ok=True)
        self.token = resources.logs.absolute() / f".ray-{uuid.uuid4().hex}"
        self.token.touch()
        self.begun = 0
        self.unborn = 0  # workers lost one after another before they were there
        self.made_at: dict[str, str] = {}  # key -> the node whose cache has the stage's files
        self.waiting: deque[Begun] = deque()  # of lost workers
        self.workers = [self._begin() for _ in range(resources.workers)]
        try:
            self._wait_for_the_first()
        except BaseException:
            self.close()
            raise

    def _wait_for_the_first(self) -> None:
        began, told = time.monotonic(), False
        while all(worker.at is None for worker in self.workers):
            waited = time.monotonic() - began
            if waited >= FIRST_WORKER:
                raise UserError(
                    f"--executor ray: no worker has started within {FIRST_WORKER:.0f} s; `ray status` says what "
                    "the cluster is busy with, and --workers asks for fewer"
                )
            if waited >= IN_SILENCE and not told:
                say("waiting for a first worker of the cluster; `ray status` says what it is busy with")
                told = True
            self._welcome((FIRST_WORKER if told else IN_SILENCE) - waited)

    def _begin(self) -> Worker:
        """A worker that Ray starts where there is room."""
        given, index = self.resources, self.begun
        self.begun += 1
        gpus = given.width if given.devices else 0
        memory = None if gpus else given.memory or None  # a GPU's worker needs that much of the GPU's
        actor = (
            self.ray.remote(Seat).options(num_cpus=given.threads * given.width, num_gpus=gpus, memory=memory).remote()
        )
        own = replace(given, workers=1, devices=gpus, logs=given.logs.absolute() / f"ray-{index}")
        return Worker(actor, actor.greet.remote(own, self.run_of, self.token, Path.cwd()))

    def has_room(self) -> bool:
        if any(worker.at is None for worker in self.workers):
            self._welcome(0.0)
        return not self.waiting and any(worker.call is None for worker in self.workers)

    def start(self, node: Node, place: Path, inputs: Mapping[str, Path]) -> None:
        self._give(Begun(node, place.absolute(), {role: path.absolute() for role, path in inputs.items()}))

    def _give(self, work: Begun) -> None:
        """To an idle worker, if there can be on the node that made most of what the stage reads."""
        idle = [worker for worker in self.workers if worker.call is None]
        worker = max(idle, key=lambda one: sum(self.made_at.get(path.name) == one.at for path in work.inputs.values()))
        worker.work = work
        worker.call = worker.actor.start.remote(work.node, work.place, work.inputs)

    def results(self) -> Iterator[Told]:
        calls = {worker.call: worker for worker in self.workers if worker.call is not None}
        ready, _ = self.ray.wait(list(calls), num_returns=1, timeout=LOOK)
        for call in ready:
            yield from self._heard(calls[call])
        while self.waiting and any(worker.call is None for worker in self.workers):
            self._give(self.waiting.popleft())

    def _heard(self, worker: Worker) -> Iterator[Told]:
        try:
            reply = self.ray.get(worker.call)
        except self.ray.exceptions.RayError as error:  # of the actor, or of what cannot be run in it
            yield from self._lost(worker, _first_line(error))
            return
        if worker.work is None:
            self._take_in(worker, reply)
            return
        for told in reply:
            if not isinstance(told, Progressed):
                worker.work = None
            if isinstance(told, Made):
                self.made_at[told.node.key] = worker.at or ""
            yield told
        worker.call = worker.actor.results.remote() if worker.work else None

    def _welcome(self, seconds: float) -> None:
        """Take in the workers that have started; wait so long for the first."""
        calls = {worker.call: worker for worker in self.workers if worker.at is None}
        for call in self.ray.wait(list(calls), num_returns=1, timeout=seconds)[0]:
            for _ in self._heard(calls[call]):
                raise AssertionError("a worker without work has nothing to tell")

    def _take_in(self, worker: Worker, greeting: Greeting) -> None:
        if not greeting.sees:
            raise UserError(
                f"--executor ray: node {greeting.host} does not see {Path.cwd()} or {self.token.parent}; start in "
                "a folder that all nodes share, and let --results name one"
            )
        there, here = (
            {f"{name} {found}" for name, found in has.items()} for has in (greeting.has, deciding_versions())
        )
        if there != here:
            raise UserError(
                f"--executor ray: node {greeting.host} has {', '.join(sorted(there - here))} and this machine "
                f"{', '.join(sorted(here - there))}; install the same on both"
            )
        worker.at, worker.call, self.unborn = greeting.node, None, 0

    def _lost(self, worker: Worker, reason: str) -> Iterator[Told]:
        self.ray.kill(worker.actor)  # one that only cannot be reached must not go on either
        self.unborn += worker.at is None
        if self.unborn > MOST_LOSSES:
            raise UserError(
                f"--executor ray: {self.unborn} workers were lost before they could begin: {reason}; what they need "
                "has to be installed on every node"
            )
        self.workers[self.workers.index(worker)] = self._begin()
        work = worker.work
        if work is None:
            return
        if work.losses == MOST_LOSSES:
            sentence = f"its worker was lost {MOST_LOSSES + 1} times: {reason}"
            yield Failed(work.node, Failure(work.node.kind, work.node.key, sentence))
            return
        # another folder: a node that is cut off from the cluster, not from the disk, would write on into the old one
        place = work.place.with_name(f"{work.place.name.partition('~')[0]}~{work.losses + 1}")
        remove([place])  # of a run that was killed
        work.place.rename(place)
        clear(place)
        self.waiting.append(replace(work, place=place, losses=work.losses + 1))
        yield Progressed(work.node, 0.0, "its worker was lost, so it is begun again on another")

    def close(self) -> None:
        """End what runs, by its own executor first; what does not answer is killed."""
        there = [worker for worker in self.workers if worker.at is not None]
        leaving = [worker.actor.leave.remote() for worker in there]
        if leaving:
            self.ray.wait(leaving, num_returns=len(leaving), timeout=FAREWELL)
        for worker in self.workers:
            self.ray.kill(worker.actor)
        self.workers = []
        self.token.unlink(missing_ok=True)
        self.ray.shutdown()


def _first_line(error: Exception) -> str:
    """What is at the bottom of an error of Ray's, without the traceback that its text is."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


EXECUTOR = ExecutorKind("ray", RayExecutor, room)
