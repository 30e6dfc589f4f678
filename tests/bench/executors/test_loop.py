"""The shared loop on a graph of trivial stages: order, caching, failures, killed processes."""

import os
import signal
from dataclasses import dataclass

import pytest

from gatebench.bench.executors.api import Elsewhere, Failed, Finished, Resources, Skipped
from gatebench.bench.executors.loop import execute
from gatebench.bench.executors.registry import make_executor
from gatebench.bench.plan.graph import Node, Plan
from gatebench.bench.stages.registry import MODULES
from gatebench.bench.stages.stage import Amount, Stage
from gatebench.bench.store.store import Store

VERSION = 1


@dataclass(frozen=True)
class Spec:
    """What a trivial stage does: "ok", "raise" or "die"."""

    name: str
    does: str = "ok"


def run(spec, inputs, out, report):
    """Writes its inputs' texts and its own name."""
    report(0.5, spec.name)
    if spec.does == "raise":
        print("last words")
        raise ValueError(f"{spec.name} broke")
    if spec.does == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    texts = [(folder / "text").read_text() for folder in inputs.values()]
    (out / "text").write_text("+".join([*texts, spec.name]))
    return {"tokens": 1}


def amount(spec, inputs, pairs):
    return Amount(1, 1, 2, 1, 1, 0)


STAGE = Stage("trivial", VERSION, Spec, run, amount)


@pytest.fixture(autouse=True)
def trivial(monkeypatch):
    """This module as the stage kind `trivial`; spawned processes find run() by its name."""
    monkeypatch.setitem(MODULES, "trivial", __name__)


def node(name, *inputs, does="ok"):
    return Node("trivial", Spec(name, does), tuple((f"i{n}", "trivial", key) for n, key in enumerate(inputs)), name)


def run_plan(nodes, store, logs, workers=2, listen=lambda event: None):
    events = []

    def note(event):
        events.append(event)
        listen(event)

    executor = make_executor(Resources(workers, 1, 0, logs))
    try:
        outcome = execute(Plan("p", (), {n.key: n for n in nodes}), store, executor, note)
    finally:
        executor.close()
    return outcome, events


DIAMOND = [node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c")]


def test_stages_run_after_their_inputs_and_once(tmp_path):
    store = Store(tmp_path / "store")
    outcome, _ = run_plan(DIAMOND, store, tmp_path / "logs")
    assert outcome.ran == {"a", "b", "c", "d"}
    assert (store.path("trivial", "d") / "text").read_text() == "a+b+a+c+d"
    again, events = run_plan(DIAMOND, store, tmp_path / "logs")
    assert again.ran == set()
    assert again.cached == {"a", "b", "c", "d"}
    assert events == []


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("raise", "ValueError: b broke"),
        ("die", "its process was killed (exit code -9; signal 9 is often the system's answer to too little memory)"),
    ],
)
def test_a_failure_skips_its_dependants_and_nothing_else(tmp_path, does, message):
    store = Store(tmp_path / "store")
    nodes = [node("a"), node("b", "a", does=does), node("c", "a"), node("d", "b", "c"), node("e", "c")]
    outcome, events = run_plan(nodes, store, tmp_path / "logs")
    assert outcome.ran == {"a", "c", "e"}
    assert outcome.skipped == {"d"}
    assert outcome.failed["b"].message == message
    assert [event.node.key for event in events if isinstance(event, Failed)] == ["b"]
    assert [event.node.key for event in events if isinstance(event, Skipped)] == ["d"]
    if does == "raise":
        assert "last words" in outcome.failed["b"].tail
    mended, _ = run_plan(DIAMOND, store, tmp_path / "logs")
    assert mended.ran == {"b", "d"}  # only what failed and what rests on it


def test_what_another_run_makes_meanwhile_is_waited_for_and_told(tmp_path):
    store = Store(tmp_path / "store")
    run_plan(DIAMOND[:1], store, tmp_path / "logs", workers=1)
    lock = store.lock("trivial", "b")

    def other_run(event):
        if isinstance(event, Finished) and event.node.key == "c":
            place = store.begin("trivial", "b")
            (place / "text").write_text("the other's")
            store.commit(place, "trivial", "b", {"inputs": {}})
            lock.release(made=True)

    outcome, events = run_plan(DIAMOND, store, tmp_path / "logs", workers=1, listen=other_run)
    assert (outcome.cached, outcome.ran) == ({"a", "b"}, {"c", "d"})
    assert [event.node.key for event in events if isinstance(event, Elsewhere)] == ["b"]  # a was there before
    assert (store.path("trivial", "d") / "text").read_text() == "the other's+a+c+d"


def test_a_failed_stage_leaves_nothing_in_the_store(tmp_path):
    store = Store(tmp_path / "store")
    run_plan([node("a", does="raise")], store, tmp_path / "logs", workers=1)
    assert not store.is_finished("trivial", "a")
    assert [p for p in (tmp_path / "store").rglob("*") if p.is_file()] == []
