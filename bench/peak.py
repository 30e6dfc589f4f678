"""The most memory that one stage took, in a process that has made others before it."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux, proc(5)
HIGH_WATER, RESET = "VmHWM:", "5"


def begin() -> None:
    """Forget what the stages before this one took: what they left is given back, and the high-water marks are set to
    what the process has now."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl gives back by itself
        if trim is not None:
            trim(0)
        _reset()
    if _has_device():
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def give_device_back() -> None:
    """What a finished stage left on the GPU and nothing holds any more: the next there may be another worker's."""
    if _has_device():
        import torch

        gc.collect()
        torch.cuda.empty_cache()


def taken() -> int:
    """Bytes at the highest since `begin`: of the GPU where one was used, else resident in this process.

    Where the system cannot reset its mark (no Linux, a kernel without it), that of the whole process so far.
    """
    if _has_device():
        import torch

        found: int = torch.cuda.max_memory_allocated()
        if found:
            return found
    try:
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(HIGH_WATER))
    except (OSError, StopIteration):
        return _of_the_process()


def _reset() -> None:
    try:
        CLEAR.write_text(RESET)
    except OSError:  # a kernel or a sandbox that does not have it
        return


def _of_the_process() -> int:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _has_device() -> bool:
    """Whether this process has used a GPU; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
