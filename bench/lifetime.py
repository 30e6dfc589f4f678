"""How long a child process lives: never longer than the one that started it."""

from __future__ import annotations

import sys


def die_with_parent() -> None:
    """Linux: be killed at once when the parent is, so that no orphan writes what the next run writes."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
