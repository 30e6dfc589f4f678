"""How many stages of a plan run at once here: as many as fit, by what the largest of them needs."""

from __future__ import annotations

from pathlib import Path

from gatebench.bench.cost.amounts import StageWork, works_of
from gatebench.bench.cost.memory import peak_memory
from gatebench.bench.executors.api import Resources
from gatebench.bench.executors.registry import get_executor
from gatebench.bench.machine import MEMORY_A_WORKER, Machine, cores, default_workers, this_machine
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.stage import BYTES

PROCESS = 650_000_000  # bytes that a process of ours takes with its libraries, before any model


def foreseen_memory(work: StageWork) -> float:
    """Bytes that a worker would take for a stage, of what was never run; only the process's where nothing is known.

    Weights that are held in another type than they are saved in stand there twice: their file is mapped.
    """
    if work.size is None:
        return PROCESS
    mapped = BYTES[FLOAT32] * work.size.parameters if 0 < work.amount.held < BYTES[FLOAT32] else 0.0
    return PROCESS + mapped + peak_memory(work.amount, work.size, work.model)


def largest_memory(plan: Plan) -> int:
    """Bytes that a worker takes for the largest stage of a plan: foreseen, never measured, so that a run that goes on
    divides the machine as the one before it did."""
    works = {work for work in works_of(plan).values() if work}
    return int(max(map(foreseen_memory, works), default=0))


def workers_of(plan: Plan) -> tuple[int, int, int]:
    """`default_workers` for a plan."""
    return default_workers(plan.at_once, largest_memory(plan))


def resources_at(
    executor: str, address: str | None, at_once: int, memory: int, logs: Path, asked: int | None, left: int
) -> Resources:
    """What an executor may use for stages of which `at_once` can run together, the largest taking so many bytes of
    memory; asked: by --workers; left: stages to run.

    A worker on a cluster has the threads that it would have here, as far as a node has as many cores, so that the bits
    are those of a run here. Raises UserError where the cluster is not there or has no room for one worker.
    """
    count, threads, devices = default_workers(at_once, memory)
    room = get_executor(executor, address).room
    if room is not None:
        count, threads, devices = room(address, threads, max(MEMORY_A_WORKER, memory))
    count = min(asked or min(count, at_once), left)
    if devices and room is None:  # several workers share a GPU, whose bits do not depend on the processor's threads
        threads = max(1, cores() // count)
    return Resources(count, threads, devices, logs, memory, address)


def machine_of(plan: Plan) -> Machine:
    """`this_machine` as it is divided for a plan."""
    return this_machine(plan.at_once, largest_memory(plan))
