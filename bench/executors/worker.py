"""A warm process that runs one stage after another: imports, tokenizers and data are loaded once.

Messages to the worker: a Job, or None to end. Messages back: Progress, then Done, Unable or NoRoom.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from gatebench.bench import peak
from gatebench.bench.errors import ProcessKilled, StageFailed, UserError, is_disk_full
from gatebench.bench.machine import VISIBLE
from gatebench.bench.process import become_worker
from gatebench.bench.stages.stage import Facts, Run

SECONDS_BETWEEN_REPORTS = 0.2


@dataclass(frozen=True)
class Job:
    run: Run
    spec: object  # what `run` takes
    inputs: Mapping[str, Path]
    out: Path
    gpus: str | None = None  # for the processes that a stage of several devices starts, by names of CUDA's


@dataclass(frozen=True)
class Reported:
    share: float
    text: str


@dataclass(frozen=True)
class Succeeded:
    facts: Facts


@dataclass(frozen=True)
class Unable:
    """The stage failed; tail: the last lines of its output; goes_on: whether its folder lets it go on."""

    sentence: str
    tail: str
    goes_on: bool = False


@dataclass(frozen=True)
class NoRoom:
    """The disk is full."""


FromWorker = Reported | Succeeded | Unable | NoRoom


def run_jobs(connection: Connection, threads: int, device: int | None, log: Path) -> None:
    """Run jobs until told to end. The process's own output goes to `log`."""
    become_worker(threads, device, log)
    parent = os.getppid()
    while os.getppid() == parent:  # where the kernel cannot see to it, an orphan ends instead of training on
        if not connection.poll(1.0):
            continue
        job = connection.recv()
        if job is None:
            return
        _run(connection, job, log)
        peak.give_device_back()


def _run(connection: Connection, job: Job, log: Path) -> None:
    last = 0.0
    parent = os.getppid()

    def report(share: float, text: str) -> None:
        nonlocal last
        if os.getppid() != parent:
            os._exit(1)
        if time.monotonic() - last > SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            connection.send(Reported(share, text))

    started, at = time.monotonic(), os.fstat(sys.stdout.fileno()).st_size
    peak.begin()
    try:
        with _lending(job.gpus):
            facts = job.run(job.spec, job.inputs, job.out, report)
        most = facts.get("peak_memory") or peak.taken()  # the former of the stage's own processes
        connection.send(Succeeded({**facts, "seconds": time.monotonic() - started, "peak_memory": most}))
    except ProcessKilled as killed:
        connection.send(Unable(str(killed), _tail(log, at), goes_on=True))
    except (StageFailed, UserError) as failure:
        connection.send(Unable(str(failure), _tail(log, at)))
    except Exception as error:  # a failing stage must not take the other cells with it
        if is_disk_full(error):
            connection.send(NoRoom())
            return
        traceback.print_exc()
        sys.stderr.flush()
        connection.send(Unable(f"{type(error).__name__}: {error}", _tail(log, at)))


@contextmanager
def _lending(gpus: str | None) -> Iterator[None]:
    """Processes that are started here see these GPUs; this one goes on with its own."""
    before = os.environ.get(VISIBLE)
    if gpus is not None:
        os.environ[VISIBLE] = gpus
    try:
        yield
    finally:
        if gpus is not None and before is not None:
            os.environ[VISIBLE] = before


def _tail(log: Path, at: int, lines: int = 20) -> str:
    if not log.exists():  # removed while the stage ran
        return ""
    with log.open("rb") as file:
        file.seek(at)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
