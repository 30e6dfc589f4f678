"""A recipe as people have it, through the stages: what it says is what TRL's own trainer does, and a kill changes no
bit of it."""

import shutil

import pandas
import pytest
import torch
from safetensors.torch import load_file

from gatebench.bench.stages.train import Stopped
from gatebench.bench.stages.train import run as train_run
from gatebench.bench.stages.training import resume
from tests.helpers import GATED_DPO, no_report, plan_of, run_stage

pytestmark = pytest.mark.slow
WARM = {"schedule": "cosine", "warmup_steps": 0, "warmup_ratio": 0.25}
RECIPES = {
    "cosine, ratio": {"schedule": "cosine", "warmup_ratio": 0.25, "warmup_steps": 150},
    "linear, decay": {"schedule": "linear", "weight_decay": 0.1, "optimizer": "adamw_torch", "adam_beta2": 0.95},
    "adafactor": {"optimizer": "adafactor"},
    "checkpointing": {"gradient_checkpointing": True},
}
LORA = "{path: 'builtin:ladder/neox-0.3m', adapter: {kind: lora, r: 4, dropout: 0.2}}"
TEXT = GATED_DPO.replace("steps: 4", "steps: 12").replace("evaluate_every: 2", "evaluate_every: 6")


def settings(recipe):
    return {f"train.{name}": value for name, value in recipe.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A suite's text and settings -> its train node, and the folder of all that was made before it."""
    folder = tmp_path_factory.mktemp("stages")

    def make(text, given):
        plan = plan_of(folder, text, **given)
        (cell,) = plan.cells
        node = plan.nodes[cell.stages["train"]]
        for other in plan.needed_by(cell):
            if other.kind not in ("train", "dynamics") and not (folder / other.key).exists():
                run_stage(other, folder, folder / other.key)
        return node, folder

    return make


def weights(out):
    (file,) = (out / "model").glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("builtin:ladder/neox-0.3m", LORA, 1)], ids=["whole", "lora"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(made, tmp_path, text, recipe):
    node, folder = made(text, settings(RECIPES[recipe]))
    inputs = {role: folder / key for role, _, key in node.inputs}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    train_run(node.spec, inputs, tmp_path / "whole", no_report)
    with pytest.raises(Stopped):
        train_run(node.spec, inputs, tmp_path / "parts", no_report, lambda step, model: step == 5)
    assert resume.resume_point(tmp_path / "parts")
    train_run(node.spec, inputs, tmp_path / "parts", no_report)
    expected = weights(tmp_path / "whole")
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(tmp_path / "parts").items())
    one, other = (pandas.read_parquet(tmp_path / name / "curves.parquet") for name in ("whole", "parts"))
    for column in ("loss", "learning_rate", "grad_norm"):
        assert list(one[column]) == list(other[column])
    shutil.rmtree(tmp_path / "whole")


def test_attention_and_checkpointing_reach_every_training(made, tmp_path):
    """A training that was asked for eager attention has it, its warm-up and its reference too."""
    text = TEXT.replace("builtin:ladder/neox-0.3m", "{path: 'builtin:ladder/neox-0.3m', attention: eager}", 1)
    (plain, _), (node, folder) = made(TEXT, {}), made(text, {"warmup.gradient_checkpointing": True})
    assert plain.key != node.key
    losses, seen = {}, {}
    for name, own in (("advised", plain), ("eager", node)):
        (tmp_path / name).mkdir()
        kept = seen[name] = set()

        def watch(step, model, kept=kept):
            kept.add((model.config._attn_implementation, model.is_gradient_checkpointing))

        train_run(own.spec, {role: folder / key for role, _, key in own.inputs}, tmp_path / name, no_report, watch)
        losses[name] = pandas.read_parquet(tmp_path / name / "curves.parquet")["loss"].to_numpy()
    assert seen == {"advised": {("sdpa", False)}, "eager": {("eager", False)}}
    assert losses["eager"] == pytest.approx(losses["advised"], abs=1e-3)


def test_checkpointing_is_on_where_it_is_asked_for(made, tmp_path):
    node, folder = made(TEXT, {"train.gradient_checkpointing": True})
    inputs, seen = {role: folder / key for role, _, key in node.inputs}, set()
    train_run(node.spec, inputs, tmp_path, no_report, lambda step, model: seen.add(model.is_gradient_checkpointing))
    assert seen == {True}


@pytest.mark.bitsandbytes
def test_a_model_in_four_bits_is_trained_under_its_adapter(model_paths, tmp_path):
    model = f"{{path: '{model_paths['llama']}', dtype: bfloat16, adapter: {{kind: lora, r: 4, bits: 4}}}}"
    text = TEXT.replace("builtin:ladder/neox-0.3m", model, 1).replace("[dpo]", "[{loss: dpo, warmup: none}]")
    plan = plan_of(tmp_path, text)
    facts = {node.kind: run_stage(node, tmp_path, tmp_path / node.key) for node in plan.nodes.values()}
    assert facts["train"]["steps"] == 12
    assert facts["train"]["weights_changed"] > 0
    node = plan.nodes[plan.cells[0].stages["train"]]
    assert pandas.read_parquet(tmp_path / node.key / "curves.parquet")["loss"][0] == pytest.approx(0.6931, abs=0.05)
