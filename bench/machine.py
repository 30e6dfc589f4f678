"""What this machine has, and how its cores are divided among workers."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
MEMORY_A_WORKER = 1_500_000_000  # bytes at least: torch, TRL and a small model in training take 1.2 GB


@dataclass(frozen=True)
class Machine:
    """memory: bytes of the device that stages run on, one GPU's or the whole machine's; gpus: 0 for a CPU."""

    name: str
    workers: int
    gpus: int
    memory: int


@cache
def this_machine(at_once: int | None = None, a_worker: int = 0) -> Machine:
    """The machine this process runs on; its name tells machines of other speed apart, not machines alike.

    at_once: how many stages can run at the same time, and a_worker: bytes that one of them takes, which decide how the
    cores are divided.
    """
    workers, threads, gpus = default_workers(at_once, a_worker)
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


def default_workers(at_once: int | None = None, a_worker: int = 0) -> tuple[int, int, int]:
    """(workers, threads each, GPUs) of this machine: one worker a GPU, else the cores divided among workers.

    at_once: how many stages can run at the same time at most, as far as that is known; a_worker: bytes that the largest
    takes. Both are a plan's, not what is left of it or what --workers says: threads change the last bits, which a run
    that goes on must not.
    """
    devices = _gpus()
    if devices:
        return devices, max(1, cores() // devices), devices
    return *divided(cores(), memory(), at_once, a_worker), 0


def divided(cores: int, memory: int, at_once: int | None = None, a_worker: int = 0) -> tuple[int, int]:
    """(workers, threads each): as many workers as have work and fit into memory (bytes), what cores are left as their
    threads: on small models two processes with one thread each beat one with two."""
    workers = max(1, min(cores, memory // max(MEMORY_A_WORKER, a_worker), at_once or cores))
    return workers, max(1, cores // workers)


def memory() -> int:
    """Bytes of physical memory, or what the control group leaves of it."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return whole
    return min(whole, int(limit)) if limit.isdigit() else whole


def available_memory() -> int | None:
    """Bytes that a further process could have now, those of cached files included; None where that is not known."""
    told = _number("/proc/meminfo", "MemAvailable:")
    if told is None:
        return None
    group = "/sys/fs/cgroup/memory"
    limit, used = _read(f"{group}.max").strip(), _read(f"{group}.current").strip()
    if not (limit.isdigit() and used.isdigit()):
        return 1024 * told
    return min(1024 * told, int(limit) - int(used) + (_number(f"{group}.stat", "inactive_file") or 0))


def _number(file: str, name: str) -> int | None:
    """What stands behind a name in a file of the kernel's."""
    return next((int(words[1]) for line in _read(file).splitlines() if (words := line.split())[:1] == [name]), None)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    """GPUs by their driver's files, so that the parent need not import torch; CUDA_VISIBLE_DEVICES counts."""
    named = _named_gpus()
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) if named is None else len(named)


def _named_gpus() -> list[str] | None:
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return None
    return [device.strip() for device in visible.split(",") if device.strip() and device.strip() != "-1"]


def visible(devices: Sequence[int]) -> str:
    """How a process is told which GPUs it has, by their places among those that this one has."""
    named = _named_gpus()
    return ",".join(str(place) if named is None else named[place] for place in devices)
