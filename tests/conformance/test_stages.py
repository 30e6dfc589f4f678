"""Every kind of stage that needs no server, on the tiny suite, and a toy one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gatebench.bench import keys
from gatebench.bench.analysis.summary import summarize
from gatebench.bench.executors.api import Resources
from gatebench.bench.executors.loop import execute
from gatebench.bench.plan.graph import Node, Plan, identity
from gatebench.bench.stages import registry
from gatebench.bench.stages.registry import run_of_kind, stage_of
from gatebench.bench.store.store import Store
from tests.conformance.stage import StageConformance
from tests.helpers import GATED_DPO, plan_of
from tests.toys.executor import EXECUTOR
from tests.toys.stage import KIND, STAGE, Spec

SUITE = GATED_DPO + "  generate: {backend: transformers, prompts: 4, max_tokens: 6}\n  judge: exact\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """One cell, all of whose stages are finished."""
    folder = tmp_path_factory.mktemp("finished")
    plan, store = plan_of(folder, SUITE), Store(folder / "store")
    executor = EXECUTOR.make(Resources(1, 1, 0, folder / "logs"), run_of_kind)
    outcome = execute(plan, store, executor, lambda event: None)
    assert not outcome.failed, outcome.failed
    return plan, store


class OfThePlan(StageConformance):
    """The last stage of a kind in the plan: of two, the one that has most inputs."""

    kind: str

    @pytest.fixture(autouse=True)
    def chosen(self) -> None:
        self.stage = stage_of(self.kind)

    @pytest.fixture
    def node(self, finished: tuple[Plan, Store]) -> Node:
        return [node for node in finished[0].nodes.values() if node.kind == self.kind][-1]

    @pytest.fixture
    def spec(self, node: Node) -> Any:
        return node.spec

    @pytest.fixture
    def inputs(self, node: Node, finished: tuple[Plan, Store]) -> Mapping[str, Path]:
        return {role: finished[1].path(kind, key) for role, kind, key in node.inputs}

    @pytest.fixture
    def input_specs(self, node: Node, finished: tuple[Plan, Store]) -> Mapping[str, Any]:
        return {role: finished[0].nodes[key].spec for role, _, key in node.inputs}


class TestBase(OfThePlan):
    kind = "base"


class TestWarmup(OfThePlan):
    kind = "warmup"


class TestReference(OfThePlan):
    kind = "reference"


class TestTrain(OfThePlan):
    kind = "train"


class TestDynamics(OfThePlan):
    kind = "dynamics"


class TestGenerate(OfThePlan):
    kind = "generate"


class TestJudge(OfThePlan):
    kind = "judge"


class TestToy(StageConformance):
    stage = STAGE

    @pytest.fixture
    def spec(self) -> Spec:
        return Spec()

    @pytest.fixture
    def inputs(self, finished: tuple[Plan, Store]) -> Mapping[str, Path]:
        plan, store = finished
        (train,) = [node for node in plan.nodes.values() if node.kind == "train"]
        policy = next(store.path(kind, key) for role, kind, key in train.inputs if role == "policy")
        return {"policy": policy, "train": store.path("train", train.key)}


def test_all_kinds_but_lm_eval_are_tried_here():
    tried = {own.kind for own in OfThePlan.__subclasses__()}
    assert set(registry.kinds()) - tried == {"lm_eval"}  # tests/end_to_end/test_evaluate.py and the golden run have it


def test_a_new_stage_brings_its_facts_and_metrics_into_the_summary(finished, monkeypatch):
    monkeypatch.setitem(registry.MODULES, KIND, "tests.toys.stage")
    plan, store = finished
    (cell,) = plan.cells
    train = plan.nodes[cell.stages["train"]]
    policy = next((kind, key) for role, kind, key in train.inputs if role == "policy")
    inputs = (("policy", *policy), ("train", "train", train.key))
    key = keys.digest_of_json(identity(KIND, Spec(), inputs))
    more = Plan(
        plan.suite,
        (type(cell)(**{**vars(cell), "stages": {**cell.stages, KIND: key}}),),
        {**plan.nodes, key: Node(KIND, Spec(), inputs, key)},
    )
    executor = EXECUTOR.make(Resources(1, 1, 0, store.root), run_of_kind)
    assert execute(more, store, executor, lambda event: None).ran == {key}
    (found,) = summarize(more, store).cells
    assert 0.5 < found.metrics["moved_share"] <= 1
    assert found.stages[KIND].facts["compared"] > 8
