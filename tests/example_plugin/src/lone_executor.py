"""A third party's executor in one file: the local one with a single worker, however many a run would have."""

from collections.abc import Callable
from dataclasses import replace

from gatebench.bench.executors.api import Executor, ExecutorKind, Resources
from gatebench.bench.executors.local import LocalExecutor
from gatebench.bench.stages.stage import Run


def make(resources: Resources, run_of: Callable[[str], Run]) -> Executor:
    return LocalExecutor(replace(resources, workers=1), run_of)


EXECUTOR = ExecutorKind("lone", make)
