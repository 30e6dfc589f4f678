"""Stages of several devices take as many places of the local executor, and have the GPUs of all."""

import os
import time
from dataclasses import dataclass, field

import pytest

from gatebench.bench.errors import ProcessKilled
from gatebench.bench.executors.api import Failed, Made, Resources
from gatebench.bench.executors.local import EXECUTOR
from gatebench.bench.models.source import Spread
from gatebench.bench.plan.graph import Node


@dataclass(frozen=True)
class Spec:
    name: str
    spread: Spread | None = field(default=None, metadata={"key": "given"})


def run(spec, inputs, out, report):
    if spec.name == "killed":
        (out / "kept").touch()
        raise ProcessKilled("its process was killed (exit code -9)")
    time.sleep(0.2)
    (out / "seen").write_text(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {time.monotonic()}")
    return {}


def run_of(kind):
    return run


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made = []

    def ready(workers, devices):
        made.append(EXECUTOR.make(Resources(workers, 1, devices, tmp_path / "logs"), run_of))
        return made[0]

    yield ready
    made[0].close()


def begin(executor, folder, name, devices=1):
    place = folder / name
    place.mkdir()
    executor.start(Node("toy", Spec(name, Spread(devices) if devices > 1 else None), (), name), place, {})
    return place


def ended(executor, count):
    found = []
    while len(found) < count:
        found += [told for told in executor.results() if isinstance(told, Made | Failed)]
    return [told.node.key for told in found]


def test_a_wide_stage_waits_for_its_places_and_nothing_passes_it(start, tmp_path):
    executor = start(2, 0)
    begin(executor, tmp_path, "narrow")
    assert executor.has_room()
    begin(executor, tmp_path, "wide", 2)
    assert not executor.has_room()
    assert ended(executor, 1) == ["narrow"]
    assert not executor.has_room()  # it works, and has both
    assert ended(executor, 1) == ["wide"]
    assert executor.has_room()
    begin(executor, tmp_path, "next")
    assert executor.has_room()
    assert ended(executor, 1) == ["next"]


def test_one_place_is_enough_where_there_is_no_more(start, tmp_path):
    executor = start(1, 0)
    begin(executor, tmp_path, "wide", 4)
    assert ended(executor, 1) == ["wide"]


def test_it_has_the_gpus_of_its_workers_and_each_worker_has_its_own_again(start, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    executor = start(2, 4)
    places = [begin(executor, tmp_path, "wide", 4)]
    ended(executor, 1)
    places += [begin(executor, tmp_path, name) for name in ("first", "second")]
    ended(executor, 2)
    places += [begin(executor, tmp_path, "pair", 2)]
    ended(executor, 1)
    seen = [(place / "seen").read_text().split()[0] for place in places]
    assert seen[0].split(",")[:2] == ["4", "5"]
    assert sorted(seen[0].split(",")) == ["4", "5", "6", "7"]
    assert sorted(seen[1:3]) == ["4", "5"]
    assert seen[3] == "4,5"


def test_a_stage_whose_process_was_killed_keeps_what_it_can_go_on_from(start, tmp_path):
    executor = start(1, 0)
    place = begin(executor, tmp_path, "killed")
    told = []
    while not told:
        told += executor.results()
    assert [type(one) for one in told] == [Failed]
    assert told[0].failure.message == "its process was killed (exit code -9)"
    assert (place / "kept").exists()
