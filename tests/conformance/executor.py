"""What every executor keeps. A third party's test subclasses ExecutorConformance and gives `make`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatebench.bench.executors.api import Event, Executor, Failed, Outcome, Progressed, Resources
from gatebench.bench.executors.loop import execute
from gatebench.bench.plan.graph import Node, Plan
from gatebench.bench.stages.registry import MODULES
from gatebench.bench.stages.stage import Amount, Facts, Inputs, Report, Run, Stage
from gatebench.bench.store.store import Store

KIND = "conformance"


@dataclass(frozen=True)
class Spec:
    name: str
    does: str = "ok"


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """Writes its inputs' texts and its own name; "raise" breaks, "wait" takes its time."""
    report(0.5, spec.name)
    if spec.does == "raise":
        raise ValueError(f"{spec.name} broke")
    if spec.does == "wait":
        time.sleep(1.0)
        (out / "late").write_text("late")
    (out / "text").write_text("+".join([*((f / "text").read_text() for f in inputs.values()), spec.name]))
    return {"tokens": 1}


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    return Amount(1, 1, 2, 1, 1, 0)


STAGE = Stage(KIND, 1, Spec, run, amount)


def run_of(kind: str) -> Run:
    return run


def node(name: str, *inputs: str, does: str = "ok") -> Node:
    return Node(KIND, Spec(name, does), tuple((f"i{n}", KIND, key) for n, key in enumerate(inputs)), name)


class ExecutorConformance:
    """in_parallel: whether it has room for a second stage while one runs."""

    def make(self, resources: Resources) -> Executor:
        """An executor that makes stages by `run_of` of this module."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def kind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(MODULES, KIND, __name__)

    def execute(self, folder: Path, *nodes: Node) -> tuple[Outcome, list[Event], Store]:
        events: list[Event] = []
        executor, store = self.make(Resources(2, 1, 0, folder / "logs")), Store(folder / "store")
        try:
            outcome = execute(Plan("p", (), {n.key: n for n in nodes}), store, executor, events.append)
        finally:
            executor.close()
        return outcome, events, store

    def test_stages_run_after_their_inputs_and_are_kept(self, tmp_path: Path) -> None:
        nodes = (node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
        outcome, _, store = self.execute(tmp_path, *nodes)
        assert outcome.ran == {"a", "b", "c", "d"}
        assert (store.path(KIND, "d") / "text").read_text() == "a+b+a+c+d"
        manifest = store.manifest(KIND, "d")
        assert manifest["seconds"] is not None
        assert manifest["peak_memory"] is not None
        assert self.execute(tmp_path, *nodes)[0].cached == {"a", "b", "c", "d"}

    def test_a_stage_that_breaks_fails_alone_with_its_sentence(self, tmp_path: Path) -> None:
        outcome, events, store = self.execute(tmp_path, node("a", does="raise"), node("b", "a"), node("c"))
        assert outcome.failed["a"].message == "ValueError: a broke"
        assert (outcome.ran, outcome.skipped) == ({"c"}, {"b"})
        assert [event.node.key for event in events if isinstance(event, Failed)] == ["a"]
        assert not store.is_finished(KIND, "a")
        assert not list((tmp_path / "store" / ".partial").glob("*"))

    def test_progress_is_a_share(self, tmp_path: Path) -> None:
        _, events, _ = self.execute(tmp_path, node("a"))
        shares = [event.share for event in events if isinstance(event, Progressed)]
        assert all(0 <= share <= 1 for share in shares)

    def test_closed_it_has_no_process_left_that_writes(self, tmp_path: Path) -> None:
        executor = self.make(Resources(1, 1, 0, tmp_path / "logs"))
        place = tmp_path / "place"
        place.mkdir()
        executor.start(node("a", does="wait"), place, {})
        executor.close()
        time.sleep(1.5)
        assert not list(place.glob("*"))
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        assert not children.exists() or not [
            pid for pid in children.read_text().split() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
