"""The executor of this machine, and a toy one."""

import pytest

from gatebench.bench.executors.registry import get_executor
from tests.conformance.executor import ExecutorConformance
from tests.toys.executor import EXECUTOR


class TestLocal(ExecutorConformance):
    @pytest.fixture
    def kind(self):
        return get_executor("local")


class TestToy(ExecutorConformance):
    @pytest.fixture
    def kind(self):
        return EXECUTOR
