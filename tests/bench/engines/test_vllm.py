"""An engine that fails is gone, with all that it started, and is not started again for the same architecture."""

import os
import signal
import subprocess
import sys

import pytest

from gatebench.bench.engines import vllm
from tests.bench.engines.failing import LOG_PROBS, PROMPTS, architecture, is_alive, stand_in, started
from tests.helpers import ROOT, load_model, wait_for

WAYS = {
    "refuses": "ValueError: no kernel for heads of 16",
    "ends": "vLLM's process ended (exit code 3)",
    "is stuck": "vLLM's process gave no answer to start within 2 s",
    "fails to score": "RuntimeError: unsupported",
    "disagrees": "its log-probs differ from transformers' by up to 1 nats a token",
}


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """way -> engines are a stand-in's, which goes wrong in that way."""

    def make(way):
        for name, value in stand_in(tmp_path, way).items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(vllm, "_refused", {})
    yield make
    vllm.close()


def serve(place):
    return vllm.serve(place, "float32", 64, PROMPTS, LOG_PROBS)


def alive(folder):
    return [process for process in started(folder) if is_alive(process)]


@pytest.mark.parametrize("way", WAYS)
def test_an_engine_that_fails_is_gone_and_its_architecture_is_not_tried_again(pretend, tmp_path, monkeypatch, way):
    pretend(way)
    monkeypatch.setattr(vllm, "LONGEST_REPLY", 2.0 if way == "is stuck" else 100.0)
    for number in range(2):
        place = architecture(tmp_path, number)
        for _ in range(3):  # as many cells
            with pytest.raises(vllm.VllmFailed) as failure:
                serve(place)
            assert str(failure.value) == WAYS[way]
            wait_for(lambda: not alive(tmp_path), f"end of {alive(tmp_path)}", seconds=10)
    # of each architecture one server and its helper; one that is stuck may not have come so far as to say so
    assert len(started(tmp_path)) <= 2 * 2 if way == "is stuck" else len(started(tmp_path)) == 2 * 2


def test_a_server_that_the_system_killed_for_its_memory_is_tried_again(pretend, tmp_path):
    pretend("is killed")
    place = architecture(tmp_path, 0)
    for _ in range(2):
        with pytest.raises(vllm.VllmHasNoRoom, match="exit code -9"):
            serve(place)
    assert len(started(tmp_path)) == 2 * 2
    wait_for(lambda: not alive(tmp_path), "end", seconds=10)
    pretend("serves")
    assert serve(place)[1] == "started"


def test_nothing_is_started_where_the_workers_need_the_memory(pretend, tmp_path, monkeypatch):
    pretend("serves")
    monkeypatch.setattr(vllm, "available_memory", lambda: 3_000_000_000)
    with pytest.raises(vllm.VllmHasNoRoom, match=r"takes 4\.2 GB of memory and 3\.0 are free"):
        serve(architecture(tmp_path, 0))
    assert started(tmp_path) == []


def test_a_closed_engine_leaves_no_pipe_open(pretend, tmp_path):
    pretend("disagrees")

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for number in range(2):
        with pytest.raises(vllm.VllmFailed):
            serve(architecture(tmp_path, number))
    assert descriptors() == before


def test_a_killed_worker_takes_its_engine_along(pretend, tmp_path):
    pretend("serves")
    place = architecture(tmp_path, 0)
    script = (
        "import pathlib, signal; from gatebench.bench.engines import vllm\n"
        f"vllm.serve(pathlib.Path({str(place)!r}), 'float32', 64, {PROMPTS}, {LOG_PROBS})\nsignal.pause()"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    worker = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path})
    server = wait_for(lambda: started(tmp_path)[1:], "server")[0]
    assert is_alive(server)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_for(lambda: not is_alive(server), "end of the server", seconds=10)
    for process in alive(tmp_path):  # the stand-in's helper, whose own parent is to end it
        os.kill(process, signal.SIGKILL)


@pytest.mark.vllm
def test_vllm_itself_leaves_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.engines.failing", "2"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "processes left: 0" in done.stdout
    assert "head_dim=16" in done.stdout


@pytest.mark.vllm
def test_the_smallest_model_of_the_ladder_is_served(model_paths, tokenizer, tmp_path):
    model = load_model(model_paths["neox"])
    assert vllm.serve_model(model, tokenizer, tmp_path, "float32", 64, PROMPTS)[1] == "started"
    vllm.close()
