"""What this machine has."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.executors.local import cores, default_workers, memory


@dataclass(frozen=True)
class Machine:
    """memory: bytes of the device that stages run on, one GPU's or the whole machine's; gpus: 0 for a CPU."""

    name: str
    workers: int
    gpus: int
    memory: int


@cache
def this_machine(at_once: int | None = None) -> Machine:
    """The machine this process runs on; its name tells machines of other speed apart, not machines alike.

    at_once: how many stages can run at the same time, which decides how the cores are divided.
    """
    workers, threads, gpus = default_workers(at_once)
    if gpus:
        model, device_memory = _gpu()
        return Machine(f"{model} x {gpus}", workers, gpus, device_memory)
    return Machine(f"{_processor()} x {cores()}, {threads} thread a worker", workers, 0, memory())


def _processor() -> str:
    found = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    return found[0].partition(":")[2].strip() if found else platform.processor() or platform.machine()


def _gpu() -> tuple[str, int]:
    """Name and memory of the first GPU by its driver's tool; unknown memory counts as 0."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "GPU", 0
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        line = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()[0]  # noqa: S603
    except (OSError, subprocess.SubprocessError, IndexError):
        return "GPU", 0
    name, _, megabytes = line.rpartition(",")
    return name.strip(), int(megabytes) * 2**20


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
