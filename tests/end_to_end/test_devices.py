"""Cells over several devices, by `bench run`: the experiment of one device, resumed to the bit, and no process left."""

import os
import shutil
import signal

import pandas
import psutil
import pytest

from gatebench.bench.errors import ProcessKilled
from gatebench.bench.stages import train
from gatebench.bench.stages.training.processes import MEMBER, on_devices
from gatebench.bench.stages.training.resume import SEAL, TRAINER
from tests.end_to_end.devices_member import killed_midway
from tests.helpers import DPO, ROOT, bench, plan_of, run_folder, start_bench, summary_of, wait_for, write

pytestmark = pytest.mark.slow
MODELS = """
  - {path: builtin:ladder/neox-0.3m, name: one}
  - {path: builtin:ladder/neox-0.3m, name: ddp, devices: 2}
  - {path: builtin:ladder/neox-0.3m, name: fsdp, devices: 2, strategy: fsdp}
"""
# An epoch ends with a batch of 4; on one device 4 pairs are taken at once, on two 2, and 4 of 8 in one go.
SPREAD = (
    DPO.replace(" [builtin:ladder/neox-0.3m]\n", MODELS)
    .replace("train: 24", "train: 28")
    .replace("[none, {kind: seq, alpha: 50,", "[{kind: shuffled, of: seq}, {kind: seq, alpha: 5/tau,")
    .replace("steps: 4\n  batch_size: 4", "steps: 8\n  batch_size: 8\n  micro_batch_size: 2")
    .replace("evaluate_every: 2", "evaluate_every: 4")
)  # fmt: skip
DDP_ALONE = SPREAD.replace("  - {path: builtin:ladder/neox-0.3m, name: one}\n", "").replace(
    "  - {path: builtin:ladder/neox-0.3m, name: fsdp, devices: 2, strategy: fsdp}\n", ""
)
# model -> (of a loss, of the gate's weights, of what is measured in nats): rounding, which RMSprop magnifies; seen were
# 6e-7, 3e-6 and 4e-4 with ddp, 2e-6, 3e-5 and 4e-3 with fsdp
CLOSE = {"ddp": (1e-6, 1e-5, 2e-3), "fsdp": (1e-5, 1e-4, 2e-2)}
COUNTED = ("gate/mean", "gate/closed", "gate/q05", "gate/q50", "gate/q95")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spread")
    done = bench("run", write(folder, SPREAD), "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder


def cells_of(folder):
    return {(cell["model"], cell["gate"]): cell for cell in summary_of(run_folder(folder))["cells"]}


def read(folder, cell, name):
    return pandas.read_parquet(folder / "results/store/train" / cell["stages"]["train"]["key"] / f"{name}.parquet")


@pytest.mark.parametrize("gate", ["seq", "shuffled"])
@pytest.mark.parametrize("model", ["ddp", "fsdp"])
def test_two_devices_make_the_experiment_of_one(ran, model, gate):
    cells, (of_loss, of_gate, of_probe) = cells_of(ran), CLOSE[model]
    one, two = cells["one", gate], cells[model, gate]
    assert one["stages"]["train"]["key"] != two["stages"]["train"]["key"]
    assert one["stages"]["base"]["key"] == two["stages"]["base"]["key"]
    facts = [cell["stages"]["train"]["facts"] for cell in (one, two)]
    assert facts[0]["gate"] == pytest.approx(facts[1]["gate"], rel=1e-5)  # of all pairs, of all processes
    curves = [read(ran, cell, "curves") for cell in (one, two)]
    assert list(curves[0]["step"]) == list(curves[1]["step"]) == [5, 8]
    assert list(curves[1]["loss"]) == pytest.approx(list(curves[0]["loss"]), abs=of_loss)
    for name in set(COUNTED) & set(curves[0].columns):
        assert list(curves[1][name]) == pytest.approx(list(curves[0][name]), abs=of_gate)
    assert list(curves[1]["num_tokens"]) == list(curves[0]["num_tokens"])
    probes = [read(ran, cell, "probes").select_dtypes("float") for cell in (one, two)]
    pandas.testing.assert_frame_equal(*probes, atol=of_probe, rtol=0)
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, abs=of_probe)


@pytest.mark.parametrize("model", ["ddp", "fsdp"])
def test_a_killed_process_ends_the_others_and_the_training_goes_on_to_the_same_bits(ran, tmp_path, monkeypatch, model):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plan, store = plan_of(tmp_path, SPREAD), ran / "results/store"
    cell = next(cell for cell in plan.cells if (cell.model, cell.gate) == (model, "seq"))
    node = plan.nodes[cell.stages["train"]]
    inputs, spec, out = {role: store / kind / key for role, kind, key in node.inputs}, node.spec, tmp_path / "out"
    out.mkdir()
    with pytest.raises(ProcessKilled, match=r"killed \(exit code -9"):
        on_devices(spec.spread, 8, 2, killed_midway, spec, inputs, out, lambda share, text: None, lambda: None)
    assert not members()
    assert (out / TRAINER / "checkpoint-5" / SEAL).exists()
    reports = []
    train.run(spec, inputs, out, lambda share, text: reports.append(share))
    assert min(reports) > 5 / 8  # it went on
    whole = store / "train" / node.key
    for name in ("curves.parquet", "probes.parquet"):
        expected = pandas.read_parquet(whole / name)
        pandas.testing.assert_frame_equal(pandas.read_parquet(out / name), expected, check_exact=True)
    weights = "model/model.safetensors"
    assert (out / weights).read_bytes() == (whole / weights).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_leaves_no_process(ran, tmp_path, number):
    shutil.copytree(ran / "results/store", tmp_path / "results/store", ignore=shutil.ignore_patterns(".locks", "train"))
    suite = write(tmp_path, DDP_ALONE.replace("steps: 8", "steps: 4000"))
    running = start_bench("run", suite, "--results", tmp_path / "results")
    wait_for(lambda: list((tmp_path / "results/store").rglob("probes/000004.parquet")), "step of a training")
    everyone = [process.pid for process in psutil.Process(running.pid).children(recursive=True)]
    assert len(members(psutil.Process(running.pid).children(recursive=True))) >= 2
    if number == signal.SIGINT:
        os.killpg(running.pid, number)  # as a terminal does
    else:
        running.kill()
    running.communicate()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in everyone), "end of its processes", seconds=30)


def members(processes=None):
    """Of trainings of this test process, or of those given."""
    found = []
    for process in psutil.Process().children(recursive=True) if processes is None else processes:
        try:
            found += [process.pid] if MEMBER in process.cmdline() else []
        except psutil.Error:
            continue
    return found
