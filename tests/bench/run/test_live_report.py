"""The live report: built at the start and after news, one at a time, and never the end of a run."""

import threading

import pytest

from gatebench.bench.executors.api import Finished, Progressed
from gatebench.bench.plan.graph import Node
from gatebench.bench.run import live_report
from gatebench.bench.run.live_report import LiveReport

FINISHED = Finished(Node("train", {}, (), "key"))


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(live_report, "SECONDS_TO_REFRESH", 0)


def test_it_is_built_at_the_start_and_when_something_finished(no_waiting):
    built = threading.Semaphore(0)
    with LiveReport(built.release, print) as report:
        assert built.acquire(timeout=60)
        report(Progressed(FINISHED.node, 0.5, ""))
        assert not built.acquire(timeout=0.2)
        report(FINISHED)
        assert built.acquire(timeout=60)


def test_it_waits_before_it_is_built_again_and_ends_at_once_with_the_run():
    built = threading.Semaphore(0)
    with LiveReport(built.release, print) as report:
        assert built.acquire(timeout=60)
        report(FINISHED)
        assert not built.acquire(timeout=0.2)  # 15 s between two


def test_a_failed_build_is_said_once_and_the_run_goes_on(no_waiting):
    said = []

    def build():
        raise OSError("disk full")

    with LiveReport(build, said.append) as report:
        report._thread.join(60)
        report(FINISHED)
    assert said == ["caution: the report is not kept up to date any more: OSError('disk full'); it is built at the end"]
