"""A gate that its thresholds shut is told when the reference is scored, before any training; each once."""

import pandas
import pytest

from gatebench.bench.executors.api import Finished, Started
from gatebench.bench.run.gate_watch import GateWatch
from gatebench.bench.stages.reference import REFERENCE_FILE
from gatebench.bench.store.store import Store
from tests.helpers import GOOD, plan_of

SHUT = GOOD.replace(
    "{kind: seq, alpha: 50, tau: q50}", "{kind: seq, alpha: 1000, tau: 0.9}, {name: fits, kind: seq, alpha: 5/tau}"
)


@pytest.fixture
def run(tmp_path):
    """(plan, store, scored): scored(node) puts a reference into the store by hand."""
    plan, store = plan_of(tmp_path, SHUT), Store(tmp_path / "store")

    def scored(node):
        place = store.begin("reference", node.key)
        pandas.DataFrame({"rejected": [[-5.0 - i / 9, -6.0] for i in range(30)]}).to_parquet(place / REFERENCE_FILE)
        store.commit(place, "reference", node.key, {"seconds": 1.0})

    return plan, store, scored


def references(plan):
    return [node for node in plan.nodes.values() if node.kind == "reference"]


def test_it_is_told_when_the_reference_is_scored_and_not_before(run):
    plan, store, scored = run
    told = []
    first, second = references(plan)  # of dpo, and of extended_sft
    with GateWatch(plan, store, told.append) as watch:
        watch(Started(first))
        assert told == []
        scored(first)
        watch(Finished(first))
        (sentence,) = told
        assert sentence.startswith(
            "neox-0.3m on toolbox: gate seq: alpha 1000 with tau 0.9 is closed on this data: of 30 "
        )
        assert sentence.endswith("Write tau: q50 with alpha: 5/tau, which fit any scale.")
        scored(second)
        watch(Finished(second))
    assert len(told) == 1


def test_a_reference_of_an_earlier_run_tells_it_at_the_start_and_one_that_is_gone_nothing(run):
    plan, store, scored = run
    told = []
    for node in references(plan):
        scored(node)
    with GateWatch(plan, store, told.append):
        assert len(told) == 1
    for node in references(plan):
        (store.path("reference", node.key) / REFERENCE_FILE).unlink()
    with GateWatch(plan, store, told.append):
        assert len(told) == 1


def test_a_finished_training_has_said_it_itself(run):
    plan, store, scored = run
    told = []
    for node in plan.nodes.values():
        if node.kind == "train":
            store.commit(store.begin("train", node.key), "train", node.key, {"seconds": 1.0})
    for node in references(plan):
        scored(node)
    with GateWatch(plan, store, told.append):
        pass
    assert told == []
