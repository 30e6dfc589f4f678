"""What is wrong with a model is found in its files, each thing in a sentence, and nothing where nothing is wrong."""

import copy
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from gatebench.bench.errors import UserError
from gatebench.bench.models.checks import examine
from gatebench.bench.models.ladder import make_config
from gatebench.bench.models.loading import load_policy
from tests.helpers import DPO, bench, plan_of, write

# as tiny as each allows; names that a configuration does not have are left out
TINY = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "n_embd": 16, "n_head": 2, "n_layer": 2, "ffn_dim": 32,
    "word_embed_proj_dim": 16, "max_position_embeddings": 64, "n_positions": 64, "num_local_experts": 2,
    "num_experts_per_tok": 1, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "mamba_expand": 2,
}  # fmt: skip
FAMILIES = ("gpt2", "gpt_neox", "opt", "bloom", "falcon", "phi", "llama", "mistral", "mixtral", "qwen2", "qwen3",
            "gemma2", "gemma3_text", "olmo2", "gpt_oss", "mamba")  # fmt: skip


@pytest.fixture
def model(model_paths, tmp_path):
    """A copy of a sound model's folder, to be spoilt."""
    return shutil.copytree(model_paths["llama"], tmp_path / "model")


def edit(file, **values):
    found = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def rename(folder, change):
    """Change the names of the tensors of a model; None leaves one out."""
    file = folder / "model.safetensors"
    named = {change(name): tensor.clone() for name, tensor in load_file(file).items()}
    save_file({name: tensor for name, tensor in named.items() if name}, file, {"format": "pt"})


@pytest.mark.parametrize("tied", [False, True], ids=["apart", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sound_weights_of_every_family_are_not_refused(family, tied, tokenizer, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    known = AutoConfig.for_model(family)
    names = {**known.to_dict(), **known.attribute_map}
    given = {name: value for name, value in TINY.items() if name in names} | {"vocab_size": len(tokenizer)}
    config = AutoConfig.for_model(family, **given, tie_word_embeddings=tied)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert examine(str(tmp_path)).wrong == ()
    weights = load_file(tmp_path / "model.safetensors")
    name = max(weights, key=len)
    rename(tmp_path, lambda own: None if own == name else own)
    (sentence,) = examine(str(tmp_path)).wrong
    assert sentence.startswith(("its weights lack ", "its weights cannot be read"))


def test_what_older_versions_saved_beside_the_weights_does_no_harm(tokenizer, tmp_path):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = {
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
        "vocab_size": len(tokenizer),
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    rename(tmp_path, lambda name: name.removeprefix("transformer."))  # as the model without its head was saved
    file = tmp_path / "model.safetensors"
    masks = {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(load_file(file) | masks, file, {"format": "pt"})
    assert examine(str(tmp_path)).wrong == ()


@pytest.mark.parametrize(
    ("prefix", "wrapper"),
    [("_orig_mod.", "torch.compile"), ("module.", "data parallelism"), ("base_model.model.", "peft")],
)
def test_weights_that_were_saved_inside_a_wrapper_are_refused_also_where_they_are_loaded(model, prefix, wrapper):
    rename(model, lambda name: prefix + name)
    (sentence,) = examine(str(model)).wrong
    assert sentence.startswith("its weights lack 21 tensors, as lm_head.weight, and have them with '" + prefix)
    assert f"inside {wrapper}; unwrap" in sentence
    with pytest.raises(UserError, match="its weights lack 21 tensors"):
        load_policy(model.parent, "float32")


def test_weights_that_lack_a_layer_or_are_of_another_shape_are_refused(model):
    rename(model, lambda name: None if name == "model.layers.1.mlp.up_proj.weight" else name)
    with pytest.raises(UserError, match=r"its weights lack model\.layers\.1\.mlp\.up_proj\.weight; transformers would"):
        load_policy(model.parent, "float32")
    edit(model / "config.json", vocab_size=4096)
    lacking, shape, *_ = examine(str(model)).wrong
    assert "lack model.layers.1.mlp.up_proj.weight" in lacking
    assert shape == "lm_head.weight is [2048, 64] in its weights and [4096, 64] by its config.json"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda m: (m / "config.json").unlink(), "it holds no config.json"),
        (lambda m: (m / "config.json").write_text("{"), "its configuration cannot be read (It looks"),
        (lambda m: edit(m / "config.json", model_type="unheard_of"), "its configuration cannot be read (The ch"),
        (lambda m: edit(m / "config.json", model_type="t5"), "t5 is no causal language model"),
        (lambda m: edit(m / "config.json", pad_token_id=2048), "pad_token_id 2048 and a vocab_size of 2048"),
        (lambda m: (m / "model.safetensors").rename(m / "pytorch_model.bin"), "only pytorch_model.bin, which could"),
        (lambda m: (m / "model.safetensors").unlink(), "it holds no *.safetensors; save"),
        (lambda m: (m / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"),
         "model.safetensors is only a pointer of Git LFS"),
        (lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:9000]),
         "its weights cannot be read (Error while deserializing header"),
        (lambda m: (m / "adapter_config.json").write_text("{}"), "it is an adapter; merge it"),
        (lambda m: (m / "tokenizer.json").unlink(), "it has no tokenizer; save the one that belongs"),
        (lambda m: (m / "tokenizer.json").write_text("{"), "its tokenizer cannot be read ("),
        (lambda m: edit(m / "tokenizer_config.json", eos_token=None), "its tokenizer has no end token"),
    ],
)  # fmt: skip
def test_each_fault_is_one_sentence_that_names_model_and_key(model, tmp_path, spoil, sentence):
    spoil(model)
    with pytest.raises(UserError) as error:
        plan_of(tmp_path, DPO.replace("builtin:ladder/neox-0.3m", "./model"))
    (told,) = error.value.sentences
    assert told.startswith(f"{tmp_path}/suite.yaml: models.0.path: './model': ")
    assert sentence in told


def test_a_shard_that_is_missing_is_named(model):
    load_policy(model.parent, "float32").save_pretrained(model, max_shard_size="300KB")
    (model / "model.safetensors").unlink(missing_ok=True)
    assert examine(str(model)).wrong == ()
    (model / "model-00002-of-00004.safetensors").unlink()
    (sentence,) = examine(str(model)).wrong
    assert "model-00002-of-00004.safetensors" in sentence


@pytest.mark.parametrize(
    ("add", "refused"),
    [
        (lambda t: t.add_tokens(["ordinary"]), "'ordinary' with id "),
        (lambda t: t.add_special_tokens({"pad_token": "[PAD]"}), "'[PAD]' with id "),
        (lambda t: t.add_special_tokens({"additional_special_tokens": ["<image>"]}), None),
        (lambda t: t.add_special_tokens({"additional_special_tokens": ["\n\nHuman: "]}), "Human: ' with id "),
    ],
    ids=["an ordinary token", "padding", "a token that no text has", "a token of the chat template"],
)  # fmt: skip
def test_a_tokenizer_that_is_longer_than_the_embeddings_is_refused_where_its_tokens_are_used(
    model, tokenizer, add, refused
):
    from transformers import LlamaForCausalLM

    rows = len(tokenizer)
    config = make_config("builtin:ladder/llama-0.3m")
    config.vocab_size = rows
    LlamaForCausalLM(config).save_pretrained(model)
    longer = copy.deepcopy(tokenizer)
    add(longer)
    longer.save_pretrained(model)
    wrong = examine(str(model)).wrong
    told = [f"{refused}{rows};" in sentence.replace("\\n", "\n") for sentence in wrong]
    assert told == ([True] if refused else [])


def test_rows_that_are_longer_than_the_context_are_refused(model, tmp_path):
    edit(model / "config.json", max_position_embeddings=96)
    text = DPO.replace("models: [", "models: [./model, ").replace("max_length: 64", "max_length: 1025")
    with pytest.raises(UserError) as error:
        plan_of(tmp_path, text.replace("context: 64", "context: 2000"))
    assert error.value.sentences == (
        "train.max_length: 1025 tokens are too many for model model, which reads at most 96",
        "base.context: 2000 tokens are too many for model neox-0.3m, which reads at most 1024",
        "train.max_length: 1025 tokens are too many for model neox-0.3m, which reads at most 1024",
    )
    asked = text.replace("max_length: 1025", "max_length: 64") + "  generate: {backend: transformers, max_tokens: 34}\n"
    with pytest.raises(UserError, match="34 tokens after prompts of up to 63 are too many for model model, which"):
        plan_of(tmp_path, asked)
    assert plan_of(tmp_path, asked.replace("max_tokens: 34", "max_tokens: 33"))


def test_a_generation_config_that_cannot_be_saved_loses_no_training(model, tmp_path):
    edit(model / "generation_config.json", do_sample=False, temperature=0.6, eos_token_id=[0, 7])
    policy = load_policy(model.parent, "float32")
    policy.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/generation_config.json").read_text())["eos_token_id"] == [0, 7]


@pytest.mark.slow
def test_what_the_hub_has_not_is_said_before_anything_runs(tmp_path):
    text = DPO.replace("builtin:ladder/neox-0.3m", "org/nmae").replace("builtin:toolbox,", "org/dtaa,")
    judge = "  judge: {kind: reward_model, model: org/jugde}\n"
    file = write(tmp_path, text + "  generate: {backend: transformers}\n" + judge)
    done = bench("run", file, "--results", tmp_path / "results", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if not line.startswith("caution: ")]
    assert told[0].startswith(f"{file}: models: 'org/nmae': it is not on this machine, and the hub does not answer")
    assert told[1].startswith(f"{file}: datasets: 'org/dtaa': it is not on this machine, and the hub does not answer")
    assert told[2].startswith(f"{file}: evaluate.judge.model: 'org/jugde': it is not on this machine")
    assert not (tmp_path / "results/store").exists()
