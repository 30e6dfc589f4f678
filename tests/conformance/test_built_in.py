"""Every built-in keeps what its kind has to keep."""

import pytest

from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.registry import get_judge
from gatebench.bench.metrics import registry  # noqa: F401 (its metrics are registered with it)
from gatebench.bench.metrics.metric import REGISTERED
from tests.cases import GATES, LOSSES
from tests.conformance.gate import GateConformance
from tests.conformance.judge import JudgeConformance
from tests.conformance.loss import LossConformance
from tests.conformance.metric import MetricConformance
from tests.helpers import judge_server

RANKED = ("trl:aot", "trl:aot_unpaired")
OF_CHOSEN_ALONE = ("sft", "trl:sft")


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
        return loss.name not in OF_CHOSEN_ALONE

    @pytest.fixture
    def ranks_the_batch(self, loss):
        return loss.name in RANKED


class TestGates(GateConformance):
    @pytest.fixture(params=GATES)
    def gate(self, request):
        return GATES[request.param]


class TestMetrics(MetricConformance):
    @pytest.fixture(params=list(REGISTERED), ids=": ".join)
    def metric(self, request):
        return REGISTERED[request.param]


class TestExactJudge(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("exact")

    @pytest.fixture
    def comparisons(self):
        from gatebench.bench.data.toolbox import load_toolbox

        rows = load_toolbox(3, 0, 0, 10).train
        return [Comparison(row.prompt, *answers) for row in rows
                for answers in ((row.chosen, row.rejected), (row.rejected, row.chosen), (row.chosen, row.chosen))]  # fmt: skip


class TestEndpointJudge(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("endpoint")

    @pytest.fixture
    def spec(self):
        def longer(question):
            first, second = (question.split(f"<answer {name}>\n")[1].split("\n</answer")[0] for name in "AB")
            return "[[C]]" if len(first) == len(second) else "[[A]]" if len(first) > len(second) else "[[B]]"

        with judge_server(longer) as server:
            yield Spec("endpoint", "any", url=server.url)


class TestRewardModelJudge(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("reward_model")

    @pytest.fixture(scope="class")
    def weights(self, tmp_path_factory):
        import torch
        from transformers import LlamaForSequenceClassification

        from gatebench.bench.models import ladder

        torch.manual_seed(0)
        folder, config = tmp_path_factory.mktemp("rewards"), ladder.make_config("builtin:ladder/llama-0.3m")
        config.num_labels = 1
        LlamaForSequenceClassification(config).save_pretrained(folder)
        ladder.make_tokenizer(["Which is better? a longer answer short"] * 3).save_pretrained(folder)
        return folder

    @pytest.fixture
    def spec(self, weights):
        return Spec("reward_model", str(weights), content="abc")
