"""What a recipe asks and a model or this machine has not is said before anything runs."""

import pytest
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from gatebench.bench.errors import UserError
from gatebench.bench.plan import runnable
from gatebench.bench.run.prepare import prepare
from tests.architectures import save
from tests.helpers import GATED_DPO, bench, write

BUILTIN = "[builtin:ladder/neox-0.3m]"
NO_GPU = "needs a GPU, and this machine has none"


def prepared(folder, model, *settings, objectives="[dpo]"):
    text = GATED_DPO.replace(BUILTIN, f"[{model}]").replace("[dpo]", objectives)
    return prepare(write(folder, text), None, folder / "results", list(settings), None)


def refused(folder, model, *settings, **more):
    found = prepared(folder, model, *settings, **more)
    with pytest.raises(UserError) as caught:
        runnable.check_recipes(found.plan, found.sources)
    return caught.value.sentences


def lora(targets="all-linear", path="builtin:ladder/neox-0.3m", more="r: 8"):
    return f"{{path: '{path}', name: m, adapter: {{kind: lora, targets: {targets}, {more}}}}}"


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (
            "[query_key_value, q_proj]",
            "no linear layer 'q_proj' between its embeddings; expected one of: dense, dense_",
        ),
        ("[dense_h_to_4]", "no linear layer 'dense_h_to_4' between its embeddings; did you mean 'dense_h_to_4h'?"),
        ("[embed_out]", "no linear layer 'embed_out' between its embeddings"),
        ("[final_layer_norm]", "no linear layer 'final_layer_norm' between its embeddings"),
    ],
)
def test_targets_that_an_architecture_has_not_are_refused(tmp_path, targets, sentence):
    (found,) = refused(tmp_path, lora(targets))
    assert found.startswith("model m: adapter.targets: GPTNeoXForCausalLM has ")
    assert sentence in found


def test_targets_that_it_has_are_not(tmp_path, tokenizer):
    for path, targets in (
        ("builtin:ladder/neox-0.3m", "[query_key_value, attention.dense]"),
        (save("gpt2", tokenizer, tmp_path / "gpt2"), "[c_attn, mlp.c_fc]"),
    ):
        found = prepared(tmp_path, lora(targets, path))
        runnable.check_recipes(found.plan, found.sources)


def test_what_a_class_of_transformers_has_not_is_refused(tmp_path, tokenizer):
    bloom = save("bloom", tokenizer, tmp_path / "bloom")
    (found,) = refused(tmp_path, f"{{path: '{bloom}', attention: sdpa}}")
    assert found == "model bloom: BloomForCausalLM has no attention sdpa; write attention: eager"
    gemma = save("gemma2", tokenizer, tmp_path / "gemma2")
    (found,) = refused(tmp_path, f"{{path: '{gemma}', attention: sdpa}}")
    assert "leaves out the softcapping that Gemma2ForCausalLM has" in found
    old = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1))
    old.save_pretrained(tmp_path / "old")
    tokenizer.save_pretrained(tmp_path / "old")
    for key in ("train", "warmup"):
        (found,) = refused(tmp_path, str(tmp_path / "old"), f"{key}.gradient_checkpointing=true")
        assert "OpenAIGPTLMHeadModel has no gradient checkpointing; write" in found


def test_a_warm_up_is_not_merged_into_four_bits(tmp_path):
    model = lora(more="bits: 4").replace("name: m", "dtype: bfloat16, name: m")
    (found,) = refused(tmp_path, model)
    assert found.startswith("model m, objective dpo: a warm-up would be merged into weights of 4 bits")
    assert prepared(tmp_path, model, objectives="[{loss: dpo, warmup: none}]").plan.cells
    with pytest.raises(UserError, match="write dtype: bfloat16"):
        prepared(tmp_path, lora(more="bits: 4"))


def test_what_this_machine_lacks_is_refused_by_a_run_and_said_by_a_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    file = write(tmp_path, GATED_DPO.replace("  batch_size: 4\n", "  batch_size: 4\n  optimizer: adamw_bnb_8bit\n"))
    sentence = f"train.optimizer: adamw_bnb_8bit {NO_GPU}; adamw_torch runs anywhere"
    ran = bench("run", file, "--results", tmp_path / "results")
    assert ran.returncode == 2
    assert sentence in ran.stderr
    planned = bench("plan", file, "--results", tmp_path / "results")
    assert planned.returncode == 0
    assert f"cannot run on this machine: {sentence}" in planned.stderr


@pytest.mark.parametrize(
    ("model", "settings", "devices", "sentence"),
    [
        (lora(more="bits: 4"), (), "", f"adapter.bits: a model in 4 bits {NO_GPU}; leave bits out"),
        ("{path: 'builtin:ladder/neox-0.3m', attention: flash_attention_2}", (), "0",
         "attention: flash_attention_2 needs the package flash_attn, which is not installed (pip install flash-attn); "
         "sdpa runs anywhere"),
        ("{path: 'builtin:ladder/neox-0.3m', attention: flex_attention}", (), "",
         f"attention: flex_attention {NO_GPU}; sdpa runs anywhere"),
        ("builtin:ladder/neox-0.3m", ("warmup.optimizer=paged_adamw_8bit",), "",
         f"warmup.optimizer: paged_adamw_8bit {NO_GPU}; adamw_torch runs anywhere"),
        ("builtin:ladder/neox-0.3m", ("train.torch_compile=true",), "",
         "train.torch_compile: TorchInductor needs a C++ compiler, and there is no g++ here"),
    ],
)  # fmt: skip
def test_what_a_machine_lacks(tmp_path, monkeypatch, model, settings, devices, sentence):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    monkeypatch.setenv("PATH", "")
    found = prepared(tmp_path, model.replace("name: m", "dtype: bfloat16, name: m"), *settings)
    assert runnable.not_runnable_here(found.plan) == [sentence]


def test_adams_numbers_and_two_warm_ups_are_refused(tmp_path):
    for settings, sentence in (
        (("train.adam_beta2=0.9",), "optimizer rmsprop reads no adam_beta2"),
        (("train.warmup_ratio=0.1",), "warmup_steps 0 and warmup_ratio 0.1 both say how long"),
        (("train.schedule=constant", "train.warmup_steps=5"), "schedule constant has no warm-up"),
        (("train.optimizer=adamw_torc",), "train.optimizer"),
        (("train.schedule=cosin",), "train.schedule"),
    ):
        with pytest.raises(UserError, match=sentence):
            prepared(tmp_path, "builtin:ladder/neox-0.3m", *settings)
