"""The executor of this machine, and a toy one."""

from __future__ import annotations

import pytest

from gatebench.bench.executors import registry
from gatebench.bench.executors.api import Executor, Resources
from gatebench.bench.executors.registry import executor_kinds, get_executor, make_executor
from tests.conformance.executor import ExecutorConformance, run_of
from tests.toys.executor import EXECUTOR


class TestLocal(ExecutorConformance):
    def make(self, resources: Resources) -> Executor:
        return make_executor(resources, "local", run_of)


class TestToy(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kinds = {**executor_kinds(), EXECUTOR.name: EXECUTOR}
        monkeypatch.setattr(registry, "executor_kinds", lambda: kinds)

    def make(self, resources: Resources) -> Executor:
        assert get_executor("in_process") is EXECUTOR
        return make_executor(resources, "in_process", run_of)
