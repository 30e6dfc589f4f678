"""The memory of a stage is its own: a small one after a large one in the same process takes little."""

import multiprocessing
import sys

import pytest

from gatebench.bench import peak
from gatebench.bench.executors.worker import Job, Succeeded, run_jobs

LARGE = 400_000_000


def hungry(spec, inputs, out, report):
    return {"seen": len(bytes(spec))} if spec == 0 else {"seen": sum(b"\1" * spec)}


@pytest.mark.skipif(sys.platform != "linux", reason="the mark can be reset on Linux alone")
def test_the_peak_of_a_stage_is_not_that_of_the_one_before(tmp_path):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_jobs, args=(theirs, 1, None, tmp_path / "log"), daemon=True)
    process.start()
    peaks = []
    for size in (0, LARGE, 0):
        ours.send(Job(hungry, size, {}, tmp_path))
        reply = ours.recv()
        assert isinstance(reply, Succeeded)
        peaks.append(reply.facts["peak_memory"])
    ours.send(None)
    process.join()
    before, large, after = peaks
    assert large - before > 0.9 * LARGE
    assert after - before < 0.2 * LARGE


def test_where_the_system_has_no_mark_the_process_so_far_counts(monkeypatch, tmp_path):
    for name in ("CLEAR", "STATUS"):
        monkeypatch.setattr(peak, name, tmp_path / "not/there")
    peak.begin()
    assert peak.taken() > 10_000_000
