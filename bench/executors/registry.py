"""The executors by name: those of this folder and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from gatebench.bench import executors
from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Executor, ExecutorKind, Resources
from gatebench.bench.stages.registry import run_of_kind
from gatebench.bench.stages.stage import Run
from gatebench.objectives.entry_points import EXECUTOR_GROUP, in_folder, with_third_parties
from gatebench.objectives.names import UnknownWord

LOCAL = "local"


@cache
def executor_kinds() -> dict[str, ExecutorKind]:
    own = {kind.name: kind for kind in in_folder(executors, "EXECUTOR", ExecutorKind)}
    return with_third_parties(EXECUTOR_GROUP, own)


def get_executor(name: str, address: str | None = None) -> ExecutorKind:
    """The executor of a name; UserError with the nearest one otherwise, and for an address that it has no use for."""
    kinds = executor_kinds()
    if name not in kinds:
        raise UserError(f"--executor: {UnknownWord('executor', name, kinds, EXECUTOR_GROUP)}")
    if address is not None and kinds[name].room is None:
        raise UserError(f"--address {address}: executor {name} runs on this machine alone; give --executor ray as well")
    return kinds[name]


def make_executor(resources: Resources, name: str = LOCAL, run_of: Callable[[str], Run] = run_of_kind) -> Executor:
    """An executor that is ready to start stages; UserError as `get_executor`."""
    return get_executor(name).make(resources, run_of)
