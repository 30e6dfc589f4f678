"""What an executor keeps: a stage that it starts ends in one result, and when it is closed nothing of it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from gatebench.bench.errors import StageFailed
from gatebench.bench.executors.api import (
    Event,
    Executor,
    ExecutorKind,
    Failed,
    Finished,
    Made,
    Outcome,
    Progressed,
    Resources,
    Started,
    Told,
)
from gatebench.bench.executors.loop import execute
from gatebench.bench.plan.graph import Node, Plan
from gatebench.bench.stages.registry import MODULES
from gatebench.bench.stages.stage import Amount, Facts, Inputs, Report, Run, Stage
from gatebench.bench.store.store import Store

KIND = "conformance"
TICKS, PAUSE = 30, 0.05  # of a stage that takes its time: seconds, and it ends by itself
SENTENCE = "there is no such thing; expected another"


@dataclass(frozen=True)
class Spec:
    """does: "ok", "raise" (an error that nobody expected), "refuse" (a sentence for the user) or "tick"."""

    name: str
    does: str = "ok"


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """Writes its inputs' texts and its own name."""
    report(0.0, f"{spec.name} starts")
    if spec.does == "raise":
        raise ValueError(f"{spec.name} broke")
    if spec.does == "refuse":
        raise StageFailed(SENTENCE)
    for tick in range(TICKS if spec.does == "tick" else 0):
        (out / "ticks").write_text(str(tick))
        time.sleep(PAUSE)
    texts = [(folder / "text").read_text() for folder in inputs.values()]
    (out / "text").write_text("+".join([*texts, spec.name]))
    report(1.0, f"{spec.name} ends")
    return {"tokens": len(texts), "name": spec.name}


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    return Amount(1, 1, 2, 1, 1, 0)


STAGE = Stage(KIND, 1, Spec, run, amount)


def run_of(kind: str) -> Run:
    return STAGE.run


def node(name: str, *inputs: str, does: str = "ok") -> Node:
    return Node(KIND, Spec(name, does), tuple((f"i{n}", KIND, key) for n, key in enumerate(inputs)), name)


DIAMOND = (node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
Make = Callable[[int], Executor]
Ran = tuple[Outcome, list[Event], Store]


class ExecutorConformance:
    """Fixtures: kind. What its processes import is this module, by its name."""

    @pytest.fixture
    def kind(self) -> ExecutorKind:
        raise NotImplementedError

    @pytest.fixture
    def make(self, kind: ExecutorKind, tmp_path: Path) -> Make:
        return lambda workers: kind.make(Resources(workers, 1, 0, tmp_path / "logs"), run_of)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store(tmp_path / "store")

    @pytest.fixture
    def run_plan(self, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
        monkeypatch.setitem(MODULES, KIND, __name__)

        def to_the_end(*nodes: Node, workers: int = 2) -> Ran:
            events: list[Event] = []
            executor = make(workers)
            try:
                outcome = execute(Plan("p", (), {n.key: n for n in nodes}), store, executor, events.append)
            finally:
                executor.close()
            return outcome, events, store

        return to_the_end

    def test_stages_run_after_their_inputs_and_get_their_folders(self, run_plan):
        outcome, events, store = run_plan(*DIAMOND)
        assert outcome.ran == {"a", "b", "c", "d"}
        assert (store.path(KIND, "d") / "text").read_text() == "a+b+a+c+d"
        order = [(type(event), event.node.key) for event in events if isinstance(event, Started | Finished)]
        for own in DIAMOND:
            for _, _, key in own.inputs:
                assert order.index((Finished, key)) < order.index((Started, own.key))

    def test_a_manifest_has_the_facts_and_what_it_took(self, run_plan):
        _, _, store = run_plan(node("a"), workers=1)
        manifest = store.manifest(KIND, "a")
        assert (manifest["tokens"], manifest["name"]) == (0, "a")
        assert manifest["seconds"] >= 0
        assert manifest["peak_memory"] >= 0

    def test_a_failure_skips_what_rests_on_it_and_nothing_else(self, run_plan):
        outcome, events, store = run_plan(
            node("a"), node("b", "a", does="raise"), node("c", "a"), node("d", "b", "c"), node("e", "c")
        )
        assert (outcome.ran, outcome.skipped) == ({"a", "c", "e"}, {"d"})
        assert outcome.failed["b"].message == "ValueError: b broke"
        assert [event.node.key for event in events if isinstance(event, Failed)] == ["b"]
        assert not store.is_finished(KIND, "b")
        assert not list((store.root / ".partial").glob("*"))

    def test_a_stage_that_refuses_fails_with_its_sentence_alone(self, run_plan):
        outcome, _, _ = run_plan(node("a", does="refuse"), workers=1)
        failure = outcome.failed["a"]
        assert (failure.kind, failure.key, failure.message) == (KIND, "a", SENTENCE)

    def test_it_works_on_after_a_failure(self, run_plan):
        outcome, _, _ = run_plan(node("a", does="raise"), node("b"), node("c", does="refuse"), node("d"), workers=1)
        assert outcome.ran == {"b", "d"}

    def test_progress_is_told_in_shares_between_start_and_end(self, run_plan):
        _, events, _ = run_plan(node("a"), workers=1)
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Finished)
        told = [event for event in events if isinstance(event, Progressed)]
        assert len(told) == len(events) - 2
        assert all(0 <= event.share <= 1 and event.text.startswith("a ") for event in told)

    def test_every_stage_ends_in_one_result_and_gives_its_room_back(self, make, tmp_path):
        executor, ended = make(2), []
        waiting = [node(str(n), does="raise" if n == 1 else "ok") for n in range(4)]
        try:
            while len(ended) < 4:
                while waiting and executor.has_room():
                    self.start(executor, waiting.pop(0), tmp_path)
                ended += [told for told in executor.results() if isinstance(told, Made | Failed)]
            assert executor.has_room()
        finally:
            executor.close()
        assert sorted(told.node.key for told in ended) == ["0", "1", "2", "3"]
        assert [told.node.key for told in ended if isinstance(told, Failed)] == ["1"]
        for made in (told for told in ended if isinstance(told, Made)):
            assert (made.place / "text").read_text() == made.node.key

    def test_closed_it_leaves_no_process_and_nothing_writes_any_more(self, make, tmp_path):
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        executor = make(1)
        place = self.start(executor, node("a", does="tick"), tmp_path)
        told: list[Told] = []
        while not told:
            told += executor.results()  # it is at work, or has been
        executor.close()
        assert {child.pid for child in psutil.Process().children(recursive=True)} - before <= helpers()
        written = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
        time.sleep(4 * PAUSE)
        assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == written

    def test_closed_before_it_did_anything_it_is_closed(self, make):
        make(2).close()

    @staticmethod
    def start(executor: Executor, own: Node, folder: Path) -> Path:
        place = folder / "partial" / own.key
        place.mkdir(parents=True)
        executor.start(own, place, {})
        return place


def helpers() -> set[int]:
    """Python's own process beside all that multiprocessing starts; it runs as long as this one."""
    from multiprocessing import resource_tracker

    return {pid for pid in [resource_tracker._resource_tracker._pid] if pid}  # type: ignore[attr-defined]
