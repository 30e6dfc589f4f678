"""Every kind of stage, on the tiny suite of tests/golden, and a toy one."""

import json
from dataclasses import replace

import pytest

from gatebench.bench import keys
from gatebench.bench.analysis.summary import summarize
from gatebench.bench.executors.api import Resources
from gatebench.bench.executors.loop import execute
from gatebench.bench.plan.graph import Node, identity
from gatebench.bench.stages import registry
from gatebench.bench.stages.registry import kinds, run_of_kind, stage_of
from gatebench.bench.store.store import Store
from tests.conformance.stage import Example, StageConformance
from tests.golden.run import finished
from tests.toys import added
from tests.toys.executor import EXECUTOR

pytestmark = pytest.mark.slow  # the tiny suite is run first
PAIRS = 24


@pytest.fixture(scope="session")
def done(shared):
    return finished(shared)


def example_of(done, node):
    """A stage of the finished suite, to be made once more."""
    folders = {role: done.store.path(kind, key) for role, kind, key in node.inputs}
    return Example(node.spec, folders, {role: done.plan.nodes[key].spec for role, _, key in node.inputs}, PAIRS)


class TestStages(StageConformance):
    @pytest.fixture(scope="class", params=kinds())
    def stage(self, request):
        return stage_of(request.param)

    @pytest.fixture(scope="class")
    def example(self, stage, done):
        """The one that rests on most."""
        nodes = [node for node in done.plan.nodes.values() if node.kind == stage.kind]
        return example_of(done, max(nodes, key=lambda node: len(node.inputs)))

    def results(self, run):
        if (run.out / "results.json").exists():  # lm-eval's own, with times and places
            items = (run.out / "items.parquet").read_bytes()
            return json.loads((run.out / "results.json").read_text())["results"], items
        return super().results(run)


@pytest.fixture(scope="class")
def toy():
    """The toy's file, and its line in the registry."""
    with added("stage") as module, pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODULES, module.KIND, module.__name__)
        yield module


def node_of_toy(toy, plan, cell):
    """Its place in a plan: after a cell's training."""
    policy = next(own for own in plan.nodes[cell.stages["train"]].inputs if own[0] == "policy")
    inputs = (policy, ("train", "train", cell.stages["train"]))
    return Node(toy.KIND, toy.Spec(), inputs, keys.digest_of_json(identity(toy.KIND, toy.Spec(), inputs)))


class TestToy(StageConformance):
    @pytest.fixture(scope="class")
    def stage(self, toy):
        return toy.STAGE

    @pytest.fixture(scope="class")
    def example(self, toy, done):
        return example_of(done, node_of_toy(toy, done.plan, done.plan.cells[0]))


def test_a_new_stage_brings_its_facts_and_metrics_into_the_summary(toy, done, tmp_path):
    nodes, cells = dict(done.plan.nodes), []
    for cell in done.plan.cells:
        node = node_of_toy(toy, done.plan, cell)
        nodes[node.key] = node
        cells.append(replace(cell, stages={**cell.stages, toy.KIND: node.key}))
    plan = replace(done.plan, cells=tuple(cells), nodes=nodes)
    store = Store(tmp_path / "store")
    store.root.mkdir()
    for kind in kinds():  # the finished stages are those of the suite, the new ones are the test's own
        if (done.store.root / kind).exists():
            (store.root / kind).symlink_to(done.store.root / kind)
    outcome = execute(plan, store, EXECUTOR.make(Resources(1, 1, 0, tmp_path), run_of_kind), lambda event: None)
    assert outcome.ran == {cell.stages[toy.KIND] for cell in cells}
    for cell in summarize(plan, store).cells:
        assert 0.5 < cell.metrics["moved_share"] <= 1
        assert cell.stages[toy.KIND].facts["compared"] > 8
