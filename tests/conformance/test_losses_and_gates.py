"""Every built-in loss and gate, and a toy of each."""

import pytest

from gatebench.objectives import gates
from gatebench.objectives.gates import Gate
from tests.cases import GATES, LOSSES
from tests.conformance.gate import GateConformance
from tests.conformance.loss import LossConformance
from tests.toys.gate import least
from tests.toys.loss import LOSS


class TestLosses(LossConformance):
    @pytest.fixture(params=LOSSES)
    def case(self, request):
        return LOSSES[request.param]

    @pytest.fixture
    def loss(self, case):
        return case[0]

    @pytest.fixture
    def parameters(self, case):
        return case[1]

    @pytest.fixture
    def reaches_rejected(self, loss):
        return loss.name not in ("sft", "trl:sft", "nll")

    @pytest.fixture
    def ranks_the_batch(self, loss):
        return loss.name in ("trl:aot", "trl:aot_unpaired")


class TestToyLoss(LossConformance):
    @pytest.fixture
    def loss(self):
        return LOSS


class TestGates(GateConformance):
    @pytest.fixture(params=GATES)
    def gate(self, request):
        return GATES[request.param]


class TestToyGate(GateConformance):
    @pytest.fixture(params=["itself", "shuffled", "matched"])
    def gate(self, request, monkeypatch):
        monkeypatch.setattr(gates, "third_parties", lambda: {"toy_least": least})
        own = Gate("toy_least", 20.0, 0.2)
        controls = {"shuffled": Gate("shuffled", of=own), "matched": Gate("constant", of=own)}
        return controls.get(request.param, own)
