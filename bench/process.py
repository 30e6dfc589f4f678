"""What every child process of ours is: quiet, on its share of the machine, and gone when its parent is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gatebench.bench.machine import VISIBLE, visible

QUIET = {
    "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "warning",
}  # fmt: skip


def become_worker(threads: int, device: int | None, log: Path) -> None:
    """To be called first in a spawned process: its own output goes to `log`; device: the one GPU it sees,
    of those that its parent does."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if device is not None:
        os.environ[VISIBLE] = visible([device])
    log.parent.mkdir(parents=True, exist_ok=True)  # it may have been removed since the run began
    with log.open("a", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    _leave_no_semaphore()
    die_with_parent()


def _leave_no_semaphore() -> None:
    """Bars have a lock of this process alone: tqdm's own is one of the system's, of which Python complains on the
    terminal where a worker is stopped."""
    import threading

    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.set_lock(threading.RLock())


def obituary(code: int | None) -> str:
    """A sentence on a process that ended without a word, by its exit code."""
    hint = "; signal 9 is often the system's answer to too little memory" if code == -9 else ""
    return f"its process was killed (exit code {code}{hint})"


def die_with_parent() -> None:
    """Linux: be killed at once when the parent is, so that no orphan writes what the next run writes."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
