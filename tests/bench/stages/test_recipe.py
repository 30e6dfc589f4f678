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
