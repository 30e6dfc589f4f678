"""One process of a training over several devices; processes.py starts it with the number of a pipe."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from gatebench.bench import peak
from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.process import die_with_parent
from gatebench.bench.stages.training.processes import MemberTask, MemberTold, Raised, Returned


def run_member(connection: Connection) -> None:
    """Run the one task that comes."""
    task: MemberTask[object] = connection.recv()
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()

    def report(share: float, text: str) -> None:
        if task.team.leads:
            connection.send(MemberTold(share, text))

    peak.begin()
    try:
        task.team.join(task.meeting)
        facts = task.share(task.spec, task.inputs, task.out, report, task.team)
        connection.send(Returned({**facts, "peak_memory": peak.taken()} if task.team.leads else {}))
    except Exception as error:
        if not isinstance(error, StageFailed | UserError):
            traceback.print_exc()
        connection.send(Raised(_sendable(error)))


def _end_with(connection: Connection) -> None:
    """Be gone when the other end is, whatever this process waits for."""
    try:
        connection.recv()
    finally:
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # an error of any library, whose arguments may be anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    die_with_parent()
    run_member(Connection(int(sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)  # no library's farewell may wait for a process that has gone
