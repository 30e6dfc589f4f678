"""The judges that need no server, and a toy one with a parameter of its own."""

from __future__ import annotations

import pytest

from gatebench.bench import keys
from gatebench.bench.data import toolbox
from gatebench.bench.errors import UserError
from gatebench.bench.judges import registry
from gatebench.bench.judges.api import Judge, Spec
from gatebench.bench.judges.registry import judge_kinds, make_judge
from gatebench.bench.suite.reader import load_suite
from tests.conformance.judge import JudgeConformance
from tests.helpers import GOOD, plan_of, write
from tests.toys.judge import JUDGE, Slack

PAIR = toolbox.load_toolbox(1, 1, 0, 0).train[0]
ASKING = GOOD + "  generate: {backend: transformers, prompts: 2}\n  judge: {kind: toy_longest, slack: 3}\n"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {**judge_kinds(), JUDGE.name: JUDGE}
    monkeypatch.setattr(registry, "judge_kinds", lambda: kinds)
    monkeypatch.setattr("gatebench.bench.suite.recipes.judge_kinds", lambda: kinds)


class TestExact(JudgeConformance):
    prompt, better, worse = str(PAIR.prompt), PAIR.chosen, PAIR.rejected

    def make(self) -> Judge:
        return make_judge(Spec("exact"))


class TestToy(JudgeConformance):
    def make(self) -> Judge:
        return make_judge(Spec("toy_longest", parameters=Slack(2)))


def test_a_judges_own_parameter_stands_beside_its_kind_and_counts_in_the_key(tmp_path):
    def judged(text):
        (spec,) = {node.spec for node in plan_of(tmp_path, text).nodes.values() if node.kind == "judge"}
        return spec

    one, other = judged(ASKING), judged(ASKING.replace("slack: 3", "slack: 4"))
    assert one.parameters == Slack(3)
    assert keys.digest(one) != keys.digest(other)
    assert "parameters" not in keys.canonical(judged(ASKING.replace("{kind: toy_longest, slack: 3}", "exact")))


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
