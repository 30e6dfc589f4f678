"""Somebody else's program within bounds of time and memory: a chat template is one, and comes with a model."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
STATM = Path("/proc/self/statm")  # Linux; where there is none, memory is not bounded
AGAIN = 0.1  # seconds between two signals: a library may swallow the first
_ONE_AT_A_TIME = threading.Lock()  # the limit is the process's: two at once would leave each other's behind


class _TimeIsUp(BaseException):
    """No Exception: templates are compiled and rendered under handlers of everything."""


def within(seconds: float, memory: int, call: Callable[[], T]) -> T:
    """What the call gives, or raises. Raises TimeoutError where it computes for longer, and MemoryError where it takes
    more bytes than `memory` beyond what the process has already.

    The seconds are the processor's: a process that is stopped, or waits on a busy machine, is not to blame. They are
    bounded in the main thread alone, which signals interrupt, between two operations of Python's. What other threads
    take meanwhile counts too.
    """
    with _ONE_AT_A_TIME:
        try:
            with _limited(memory):
                in_main = threading.current_thread() is threading.main_thread()
                return _interrupted(seconds, call) if in_main else call()
        except _TimeIsUp:
            raise TimeoutError(f"more than {seconds:g} seconds") from None


@contextmanager
def _limited(memory: int) -> Iterator[None]:
    try:
        mapped = int(STATM.read_bytes().split()[0]) * resource.getpagesize()
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = min(most for most in (mapped + memory, soft, hard) if most != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _interrupted(seconds: float, call: Callable[[], T]) -> T:
    """One frame and no context manager: a signal on the way to its clean-up would leave the timer running."""
    runs = True

    def stop(number: int, frame: FrameType | None) -> None:
        if runs:
            raise _TimeIsUp

    before = signal.signal(signal.SIGPROF, stop)
    timer = signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN)
    try:
        try:
            return call()
        finally:
            runs = False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before or signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, *timer)
