"""A training over several devices: its processes are started, heard and ended by the one that makes the stage.

Each is a fresh `python -m gatebench.bench.stages.training.member` that is given a pipe. It runs the stage's own code
with a Team in hand, and the first of them writes the stage's files. None outlives the one that started it: each ends
when its pipe is closed, and on Linux the kernel sees to it at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar, cast

from gatebench.bench.errors import ProcessKilled
from gatebench.bench.models.source import Spread
from gatebench.bench.process import obituary
from gatebench.bench.stages.stage import Facts, Report
from gatebench.bench.stages.training.memory import with_smaller_batches
from gatebench.bench.stages.training.team import Team

MEMBER = "gatebench.bench.stages.training.member"
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
SpecOf = TypeVar("SpecOf")  # the Spec of a stage of some kind
TeamRun: TypeAlias = Callable[[SpecOf, Mapping[str, Path], Path, Report, Team], Facts]


@dataclass(frozen=True)
class MemberTask(Generic[SpecOf]):
    """What a process is started for. meeting: see Team.join."""

    share: TeamRun[SpecOf]
    spec: SpecOf
    inputs: Mapping[str, Path]
    out: Path
    team: Team
    meeting: Path


@dataclass(frozen=True)
class MemberTold:
    share: float
    text: str


@dataclass(frozen=True)
class Returned:
    facts: Facts


@dataclass(frozen=True)
class Raised:
    error: Exception


FromMember = MemberTold | Returned | Raised


def on_devices(
    spread: Spread,
    batch_size: int,
    micro: int | None,
    share: TeamRun[SpecOf],
    spec: SpecOf,
    inputs: Mapping[str, Path],
    out: Path,
    report: Report,
    clear: Callable[[], None],
) -> Facts:
    """The facts of a stage whose training is shared out; `share` is what each process runs.

    micro: pairs or rows that each takes at once, by default all of its share of batch_size; clear: drops what an
    attempt left. Raises what `share` does, and ProcessKilled where a process is no more.
    """

    def attempt(size: int) -> Facts:
        team = Team(spread.devices, 0, spread.strategy == "fsdp", size)
        with tempfile.TemporaryDirectory() as folder:
            task = MemberTask(share, spec, inputs, out, team, Path(folder, "meeting"))
            return _together([replace(task, team=replace(team, rank=rank)) for rank in range(team.size)], report)

    facts, _ = with_smaller_batches(micro or batch_size // spread.devices, attempt, clear)
    return facts


def _together(tasks: Sequence[MemberTask[SpecOf]], report: Report) -> Facts:
    """What the first of the processes returns, once all are done."""
    members: dict[Connection, subprocess.Popen[bytes]] = {}
    try:
        for task in tasks:
            ours, theirs = Pipe()
            members[ours] = _start(task.team, theirs)
            theirs.close()
            ours.send(task)
        facts: Facts = {}
        waiting = list(members)
        while waiting:
            for connection in cast("list[Connection]", wait(waiting)):
                try:
                    told: FromMember = connection.recv()
                except (EOFError, OSError):
                    raise ProcessKilled(obituary(members[connection].wait())) from None
                if isinstance(told, MemberTold):
                    report(told.share, told.text)
                elif isinstance(told, Raised):
                    raise told.error
                else:
                    facts |= told.facts
                    waiting.remove(connection)
        return facts
    finally:
        for connection, process in members.items():
            process.kill()
            process.wait()
            connection.close()


def _start(team: Team, connection: Connection) -> subprocess.Popen[bytes]:
    number, size = str(team.rank), str(team.size)
    environment = {
        "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,  # torchrun's names
        "GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK,
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", MEMBER, str(connection.fileno())]
    return subprocess.Popen(  # noqa: S603
        command,
        env={"OMP_NUM_THREADS": "1", **os.environ, **environment},
        pass_fds=[connection.fileno()],
        stdin=subprocess.DEVNULL,
    )
