"""`bench perf` measures what it says; its timings are read, not asserted."""

import io
import json
import re
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from gatebench.bench.console import print_json
from gatebench.bench.data.source import TOOLBOX
from gatebench.bench.errors import UserError
from gatebench.bench.models import ladder
from gatebench.bench.perf import checks, harness, session, step, suite, trainers
from gatebench.bench.perf.tables import perf_tables
from gatebench.bench.perf.trainers import DEFAULT, OURS

QUIET = Console(quiet=True)
RATIOS = ("vs_trl_default", "vs_trl_precomputed", "vs_trl_without_checkpointing", "vs_gatebench_packed")
KEYS = (*RATIOS, "max_loss_difference", "tokens_per_second", "share_of_peak", "peak_memory_ratio",
        "peak_memory_ratio_large_vocabulary")  # fmt: skip


def text_of(tables):
    console = Console(file=io.StringIO(), width=200)
    console.print(*tables)
    return console.file.getvalue()


@pytest.mark.slow
def test_the_harness_is_measured_over_cells_without_work():
    found = list(harness.measure(QUIET, planned=20, cells=10, logged=3, reported=10))
    plan, overhead, again, logging, report, statistics = found
    assert plan.what == "plan of 20 cells"
    assert "10 cells" in overhead.what
    assert "10 cells" in again.what
    assert logging.what == "logging a cell to MLflow on sqlite"
    assert "10 cells with 200 probes" in report.what
    assert "1,000 cells x 500 probes" in statistics.what
    assert min(figure.seconds for figure in found) > 0


@pytest.mark.slow
@pytest.mark.ray
def test_a_stage_is_measured_here_and_on_ray():
    here, there = harness.measure_ray(QUIET, cells=10)
    assert here.what.endswith("on executor local")
    assert there.what.endswith("on executor ray")
    assert min(here.seconds, there.seconds) > 0


@pytest.mark.slow
def test_a_step_is_measured_against_stock_trl(monkeypatch, capsys):
    for module in (trainers, step, checks):
        monkeypatch.setattr(module, "STEPS", 3)
    monkeypatch.setattr(step, "UNTIMED", 1)
    monkeypatch.setattr(checks, "LOSSES", ("ipo", "cal_dpo"))
    monkeypatch.setattr(checks, "LARGE_VOCABULARY", 20_000)
    figures = session.measure_parts(["step", "checks"], ["neox-0.3m"], TOOLBOX, QUIET)
    found = figures.to_json()["models"]["neox-0.3m"]
    assert set(found) == {f"step.{key}" for key in KEYS}
    assert min(found.values()) > 0
    assert found["step.max_loss_difference"] < 1e-4
    assert found["step.peak_memory_ratio"] < 1
    assert found["step.peak_memory_ratio_large_vocabulary"] < 1
    measured, checked = figures.steps["neox-0.3m"], figures.checks["neox-0.3m"]
    assert set(checked.loss_differences) == {
        f"{loss}, gate {gate}" for loss in ("ipo", "cal_dpo") for gate in ("none", "seq")
    }
    assert sum(measured.breakdown.values()) == pytest.approx(measured.seconds[OURS])
    assert min(measured.breakdown.values()) > 0
    # more words, more memory, and TRL's logits grow with them
    assert checked.memory_large_vocabulary[DEFAULT] > 2 * checked.memory[DEFAULT]
    shown = text_of(perf_tables(figures))
    for part in ("× precomputed", "matrix products", "150,000", "cal_dpo, gate seq", "of the peak"):
        assert part in shown
    print_json(figures.to_json())
    assert json.loads(capsys.readouterr().out)["libraries"]["trl"]


@pytest.mark.slow
def test_a_suite_is_measured_against_stock_processes(monkeypatch):
    small = suite.SUITE
    for name, value in {"train": 16, "test": 4, "steps": 2, "evaluate_every": 1, "probes": 2}.items():
        small = re.sub(rf"\b{name}: \d+", f"{name}: {value}", small)
    monkeypatch.setattr(suite, "SUITE", small.replace("seeds: [0, 1, 2, 3]", "seeds: [0]"))
    monkeypatch.setattr(suite, "WAVES", 1)
    figures = session.measure_parts(["suite"], ["neox-0.3m"], TOOLBOX, QUIET)
    ours, theirs = figures.suites["neox-0.3m"]
    assert figures.to_json()["models"] == {"neox-0.3m": {"suite.vs_trl_processes": theirs / ours}}
    assert "a TRL process a cell" in text_of(perf_tables(figures))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((["stp"], ["llama-1.3m"], TOOLBOX), "unknown part of bench perf 'stp'; did you mean 'step'?"),
        ((["step"], ["lama-1.3m"], TOOLBOX), "did you mean 'builtin:ladder/llama-1.3m'?"),
        ((["step", "suite"], ["qwen-0.5b"], TOOLBOX), "qwen-0.5b is for the part step alone, on a machine with a GPU"),
        ((["step"], ["llama-1.3m"], "nope.jsonl"), "--data nope.jsonl: there is no such file"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, sentence):
    with pytest.raises(UserError, match=sentence.replace("?", r"\?").replace("-", r"\-")):
        session.measure_parts(*given, QUIET)


def test_the_model_for_a_gpu_has_half_a_billion_parameters():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(trainers.half_billion())
    assert model.num_parameters() == 494_032_768  # Qwen2.5-0.5B's


@pytest.mark.slow
def test_a_contestant_steps_in_bfloat16(tmp_path):
    """As the GPU's does, on a model that a processor steps in time."""
    work = trainers.make_work(f"{ladder.PREFIX}qwen-0.3m", session.data_source(TOOLBOX), tmp_path / "work")
    work = replace(work, dtype="bfloat16", batch_size=16)
    one, other = (trainers.Contestant(name, work) for name in (OURS, trainers.PACKED))
    assert one.trainer.model.dtype == torch.bfloat16
    for number in range(2):
        assert one.step(number) == pytest.approx(other.step(number), abs=0.02)
