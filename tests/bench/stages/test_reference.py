"""The reference log-probs are those of the policy as training loads it and computes with it."""

import pandas
import pytest
import torch

from gatebench.bench.data.adapters import load
from gatebench.bench.models.encoding import Encoder
from gatebench.bench.models.loading import load_policy, load_tokenizer
from gatebench.bench.stages.reference import REFERENCE_FILE
from tests.helpers import DPO, plan_of, response_log_prob, run_stage


@pytest.mark.parametrize(("adapter", "held"), [("", "float32"), (", adapter: {kind: lora, r: 4}", "bfloat16")])
def test_in_bfloat16_it_scores_as_the_first_step_of_training_does(tmp_path, adapter, held):
    model = f"[{{path: 'builtin:ladder/llama-0.3m', dtype: bfloat16{adapter}}}]"
    plan = plan_of(tmp_path, DPO.replace("[builtin:ladder/neox-0.3m]", model))
    nodes = {node.kind: node for node in plan.nodes.values() if node.kind in ("base", "warmup", "reference")}
    for node in nodes.values():
        run_stage(node, tmp_path, tmp_path / node.key)
    spec, policy = nodes["reference"].spec, tmp_path / nodes["warmup"].key
    pairs, _ = Encoder(load_tokenizer(policy), spec.lengths).pairs(load(spec.data).train)
    found = pandas.read_parquet(tmp_path / nodes["reference"].key / REFERENCE_FILE)["chosen"].map(sum)

    def scored(dtype, autocast):
        loaded = load_policy(policy, dtype).eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return [response_log_prob(loaded, pair.prompt, pair.chosen) for pair in pairs]

    def distance(values):
        return (found - values).abs().mean()

    trained, other = distance(scored(held, autocast=True)), "bfloat16" if held == "float32" else "float32"
    assert trained < 0.25 * distance(scored("float32", autocast=False))
    assert trained < 0.25 * distance(scored(other, autocast=True))
