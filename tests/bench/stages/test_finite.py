"""A policy whose log-probs are no numbers fails its stages instead of being averaged away."""

import shutil

import pytest
import torch

from gatebench.bench.errors import StageFailed
from tests.helpers import DPO, load_model, plan_of, run_stage


@pytest.fixture
def broken(model_paths, tmp_path):
    """A plan after a warm-up policy that gives one token no number, and the folder of its finished stages."""
    text = DPO + "  generate: {backend: transformers, prompts: 4, max_tokens: 4}\n"
    plan = plan_of(tmp_path, text)
    model = load_model(model_paths["neox"])
    with torch.no_grad():
        model.get_output_embeddings().weight[300] = float("nan")
    key = next(key for key, node in plan.nodes.items() if node.kind == "warmup")
    model.save_pretrained(tmp_path / key / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{model_paths['neox']}/{file}", tmp_path / key / "model")
    return plan, tmp_path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("reference", r"48 of 48 responses of training pairs under the reference policy have a log-prob that is"),
     ("dynamics", r"probes at step 0: \d+ of \d+ responses scored at once have a log-prob that is not a finite number"),
     ("generate", "4 of 4 answers have a log-prob that is not a finite number: the weights are broken")],
)  # fmt: skip
def test_a_policy_without_numbers_fails_its_stage(broken, kind, sentence):
    plan, finished = broken
    node = next(node for node in plan.nodes.values() if node.kind == kind)
    with pytest.raises(StageFailed, match=sentence):
        run_stage(node, finished, finished / "out")
