"""Every built-in loss and gate, and a toy of each."""

from __future__ import annotations

import pytest

from gatebench.objectives import gates
from tests.cases import LOSSES
from tests.conformance.gate import GateConformance
from tests.conformance.loss import LossConformance
from tests.toys.gate import least
from tests.toys.loss import LOSS


class TestLosses(LossConformance):
    @pytest.fixture(autouse=True, params=[*LOSSES, LOSS.name])
    def chosen(self, request: pytest.FixtureRequest) -> None:
        self.loss, parameters = LOSSES.get(request.param, (LOSS, LOSS.make_parameters()))
        self.parameters = dict(vars(parameters))


class TestGates(GateConformance):
    @pytest.fixture(autouse=True, params=["seq", "q10", "q50", "q90", "token", "toy_least"])
    def chosen(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind = request.param
        monkeypatch.setattr(gates, "third_parties", lambda: {"toy_least": least})
