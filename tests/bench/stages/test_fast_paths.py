"""What a stage says of a model that must not compute a prompt once, and that it then does without."""

import math

import pandas
import pytest
import torch

from gatebench.bench.errors import UserError
from gatebench.bench.models.loading import POINTER, load_policy
from gatebench.bench.stages.stage import CAUTIONS
from tests.architectures import save
from tests.helpers import GOOD, plan_of, run_stage

UNGATED_DPO = GOOD.replace("[dpo, extended_sft]", "[dpo]").replace(", {kind: seq, alpha: 50, tau: q50}", "")
# a training measures its probes itself, so that what is joined of them later has nothing more to say
BLIND = {
    "base": "",
    "warmup": "packing",
    "reference": "scoring",
    "dynamics": "scoring",
    "train": "layout one_row, scoring",
}
SAID = {
    "mistral, window": BLIND,
    "bloom": {**dict.fromkeys(BLIND, ""), "warmup": "packing", "train": "layout one_row"},
    "gemma2": dict.fromkeys(BLIND, ""),
    "gpt_neo": dict.fromkeys(BLIND, ""),
    "mamba": BLIND,
    "mixtral": {**dict.fromkeys(BLIND, ""), "train": "layout one_row"},
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_a_cell_of_every_kind_of_model(name, tokenizer, tmp_path):
    model = save(name, tokenizer, tmp_path / "model")
    text = UNGATED_DPO.replace("[builtin:ladder/neox-0.3m]", f"[{{name: own, path: {model}}}]")
    for node in plan_of(tmp_path, text).nodes.values():
        cautions = run_stage(node, tmp_path, tmp_path / node.key).get(CAUTIONS, [])
        joins = node.kind == "dynamics" and "train" in {role for role, _, _ in node.inputs}
        assert ", ".join(caution.split(":")[0] for caution in cautions) == ("" if joins else SAID[name][node.kind])
        if node.kind == "dynamics":  # of step 0, then of all
            probes = pandas.read_parquet(tmp_path / node.key / "probes.parquet")
    start, *_, end = (rows["log_prob"].sum() for _, rows in probes.groupby("step"))
    assert math.isfinite(end)
    assert end != start


def folder_of(tmp_path, path):
    (tmp_path / POINTER).write_text(f'{{"path": "{path}"}}')
    return tmp_path


@pytest.mark.parametrize(
    ("name", "attention"), [("bloom", "eager"), ("gpt_neo", "eager"), ("gemma2", "eager"), ("llama", "sdpa")]
)
def test_attention_is_what_transformers_advises(name, attention, tokenizer, tmp_path):
    model = load_policy(folder_of(tmp_path, save(name, tokenizer, tmp_path / "model")), "float32")
    assert model.config._attn_implementation == attention


def test_softcapping_is_not_left_out(tokenizer, tmp_path):
    """Queries and keys of this size are capped, which torch's own attention would not do."""
    folder = folder_of(tmp_path, save("gemma2", tokenizer, tmp_path / "model"))
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        model = load_policy(folder, "float32").eval()
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.mul_(20)
        capped = model(input_ids=ids).logits
        model.set_attn_implementation("sdpa")
        assert (capped - model(input_ids=ids).logits).abs().max() > 0.01


def test_what_is_no_causal_language_model_is_refused_by_name(tmp_path):
    from transformers import LlavaConfig

    LlavaConfig().save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"model: cannot load the model .*LlavaConfig"):
        load_policy(folder_of(tmp_path, tmp_path / "model"), "float32")
