"""A stage killed in the middle goes on from its last checkpoint and ends with the same bits."""

import json
import shutil
from pathlib import Path

import pytest

from gatebench.bench.stages.training import resume
from tests.helpers import DPO, no_report, plan_of, run_stage

LONG = DPO.replace("steps: 4", "steps: 24").replace("evaluate_every: 2", "evaluate_every: 10")
LONG = LONG.replace("tokens: 4096", "tokens: 12288").replace("epochs: 1", "epochs: 8")


class Killed(Exception):
    """Stands for the end of the process."""


def killed_after(share_to_die):
    def report(share, text):
        if share >= share_to_die:
            raise Killed

    return report


def weights(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def stages(request, tmp_path_factory):
    """The nodes of one gated cell and a folder for each, run in this process; computed in either type."""
    folder = tmp_path_factory.mktemp("stages")
    gates = "[{kind: seq, alpha: 50, tau: q50}, {kind: shuffled, of: seq}]"
    model = f"[{{path: 'builtin:ladder/neox-0.3m', dtype: {request.param}}}]"
    text = LONG.replace("[none, {kind: seq, alpha: 50, tau: q50}]", gates)
    plan = plan_of(folder, text.replace("[builtin:ladder/neox-0.3m]", model))
    (cell,) = [cell for cell in plan.cells if cell.gate == "shuffled"]
    for node in plan.needed_by(cell):
        if node.kind != "dynamics":
            run_stage(node, folder, folder / node.key)
    return plan, cell, folder


@pytest.mark.parametrize("kind", ["base", "warmup", "train"])
def test_the_resumed_weights_are_the_uninterrupted_ones(stages, kind, tmp_path, monkeypatch):
    plan, cell, folder = stages
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    node = plan.nodes[cell.stages[kind]]
    with pytest.raises(Killed):
        run_stage(node, folder, tmp_path, killed_after(0.7))
    left = Path(resume.resume_point(tmp_path))
    assert 0 < json.loads((left / "trainer_state.json").read_text())["global_step"] < 24
    assert not (tmp_path / "model").exists()
    run_stage(node, folder, tmp_path)
    assert weights(tmp_path) == weights(folder / node.key)
    assert not (tmp_path / "trainer").exists()
    if kind == "train":
        import pandas

        one, two = (pandas.read_parquet(place / "curves.parquet") for place in (tmp_path, folder / node.key))
        pandas.testing.assert_frame_equal(one, two)


@pytest.fixture(scope="module")
def killed(stages, tmp_path_factory):
    """What a training that was killed left, with a whole checkpoint and probes measured, and its folder's node."""
    plan, cell, folder = stages
    node, left = plan.nodes[cell.stages["train"]], tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        with pytest.raises(Killed):
            run_stage(node, folder, left, killed_after(0.7))
    assert list(left.glob("probes/*.parquet"))
    return node, left


def test_no_damage_of_a_checkpoint_goes_unnoticed(killed, tmp_path):
    """Each of its files and of the probes measured before it: a bit flipped, cut, emptied, gone."""
    _, left = killed
    files = [file.relative_to(left) for file in sorted([*left.glob("*/*/*"), *left.glob("probes/*")])]
    assert len(files) > 8
    for number, name in enumerate(files):
        for damage in ("flip", "cut", "empty", "gone"):
            out = tmp_path / f"{number}-{damage}"
            shutil.copytree(left, out)
            content = bytearray((out / name).read_bytes())
            if damage == "gone":
                (out / name).unlink()
            else:
                if damage == "flip":
                    content[len(content) // 2] ^= 1
                (out / name).write_bytes({"flip": content, "cut": content[:-1], "empty": b""}[damage])
            assert resume.resume_point(out) is None, (name, damage)
            assert not list(out.glob("trainer/checkpoint-*"))
            shutil.rmtree(out)


@pytest.mark.parametrize("damaged", ["model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_costs_time_and_no_bits(stages, killed, tmp_path, damaged):
    folder, (node, left) = stages[2], killed
    shutil.copytree(left, tmp_path / "out")
    (file,) = (tmp_path / "out/trainer").glob(f"checkpoint-*/{damaged}")
    content = bytearray(file.read_bytes())
    content[-100] ^= 64
    file.write_bytes(content)
    run_stage(node, folder, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(folder / node.key)


def test_folders_that_are_no_checkpoint_are_passed_over(tmp_path):
    for name in ("checkpoint-5", "checkpoint-x", "checkpoint-"):
        (tmp_path / "trainer" / name).mkdir(parents=True)
    assert resume.resume_point(tmp_path) is None


def test_a_training_that_its_watch_stops_goes_on_to_the_same_weights(stages, tmp_path):
    from gatebench.bench.stages import train

    plan, cell, folder = stages
    node = plan.nodes[cell.stages["train"]]
    inputs = {role: folder / key for role, _, key in node.inputs}
    asked = []

    def watch(step, model):
        asked.append(step)
        return step == 10

    with pytest.raises(train.Stopped):
        train.run(node.spec, inputs, tmp_path, no_report, watch)
    assert asked == list(range(1, 11))
    assert not (tmp_path / "model").exists()
    train.run(node.spec, inputs, tmp_path, no_report, watch)
    assert asked[10:] == list(range(11, 25))
    assert weights(tmp_path) == weights(folder / node.key)
