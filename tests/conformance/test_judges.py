"""Every built-in judge, and a toy one with a parameter of its own."""

import math

import pytest

from gatebench.bench import keys
from gatebench.bench.data.toolbox import load_toolbox
from gatebench.bench.errors import UserError
from gatebench.bench.judges import registry
from gatebench.bench.judges.api import WIN, Comparison, Spec
from gatebench.bench.judges.registry import get_judge, judge_kinds
from gatebench.bench.judges.votes import Vote, append_vote
from gatebench.bench.suite.reader import load_suite
from tests.conformance.judge import COMPARISONS, JudgeConformance
from tests.helpers import GOOD, answers_in, judge_server, plan_of, write
from tests.toys.judge import JUDGE, Slack

ASKING = GOOD + "  generate: {backend: transformers, prompts: 2}\n  judge: {kind: toy_longest, slack: 3}\n"


class TestExact(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("exact")

    @pytest.fixture
    def comparisons(self):
        return [
            Comparison(row.prompt, *answers)
            for row in load_toolbox(3, 0, 0).train
            for answers in ((row.chosen, row.rejected), (row.rejected, row.chosen), (row.chosen, row.chosen))
        ]


class TestEndpoint(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("endpoint")

    @pytest.fixture
    def spec(self):
        def longer(question):
            first, second = answers_in(question)
            return "[[C]]" if len(first) == len(second) else "[[A]]" if len(first) > len(second) else "[[B]]"

        with judge_server(longer) as server:
            yield Spec("endpoint", "any", url=server.url)


class TestArenaHard(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("arena_hard")

    @pytest.fixture
    def spec(self, kind):
        def longer(question):
            first, second = answers_in(question)
            sign = "=" if len(first) == len(second) else ">>" if len(first) > len(second) else "<"
            return f"[[A{sign}B]]"

        with judge_server(longer) as server:
            yield Spec("arena_hard", "any", url=server.url, parameters=kind.parameters())


class TestAlpacaEval(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("alpaca_eval")

    @pytest.fixture
    def spec(self, kind):
        def longer(question):
            first, second = answers_in(question)
            share = (1 + len(first)) / (2 + len(first) + len(second))
            return {"A": math.log(share), "B": math.log1p(-share)}

        with judge_server(longer) as server:
            yield Spec("alpaca_eval", "any", url=server.url, parameters=kind.parameters())


class TestHuman(JudgeConformance):
    @pytest.fixture
    def kind(self):
        return get_judge("human")

    @pytest.fixture
    def spec(self, tmp_path):
        for asked in COMPARISONS[:2]:
            append_vote(tmp_path / "anna.jsonl", Vote("anna", asked.prompt, asked.first, asked.second, WIN))
        return Spec("human", content="abc", votes=str(tmp_path))


class TestRewardModel(JudgeConformance):
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


@pytest.fixture
def known(monkeypatch):
    """The toy judge among the others."""
    kinds = {**judge_kinds(), JUDGE.name: JUDGE}
    monkeypatch.setattr(registry, "judge_kinds", lambda: kinds)
    monkeypatch.setattr("gatebench.bench.suite.recipes.judge_kinds", lambda: kinds)


class TestToy(JudgeConformance):
    @pytest.fixture
    def kind(self, known):
        return get_judge("toy_longest")

    @pytest.fixture
    def spec(self):
        return Spec("toy_longest", parameters=Slack(2))


@pytest.mark.usefixtures("known")
def test_a_judges_own_parameter_stands_beside_its_kind_and_counts_in_the_key(tmp_path):
    def judged(text):
        (spec,) = {node.spec for node in plan_of(tmp_path, text).nodes.values() if node.kind == "judge"}
        return spec

    one, other = judged(ASKING), judged(ASKING.replace("slack: 3", "slack: 4"))
    assert one.parameters == Slack(3)
    assert keys.digest(one) != keys.digest(other)
    assert "parameters" not in keys.canonical(judged(ASKING.replace("{kind: toy_longest, slack: 3}", "exact")))


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        ("{kind: toy_longest, slak: 3}", "evaluate.judge.slak: unknown key"),
        ("{kind: toy_longest, slack: -1}", "slack -1 is below 0"),
        ("{kind: toy_longest, parameters: {slak: 3}}", "did you mean 'slack'?"),
        ("{kind: exact, slack: 3}", "evaluate.judge.slack: unknown key"),
        ("{kind: toy_longst}", "did you mean 'toy_longest'?"),
    ],
)
def test_a_mistake_in_a_judges_parameters_is_one_sentence(tmp_path, judge, sentence):
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, ASKING.replace("{kind: toy_longest, slack: 3}", judge)))
    assert sentence in str(caught.value)
    assert len(caught.value.sentences) == 1
