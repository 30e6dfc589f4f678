"""The size of a model, by its files, its configuration, what is published, and last its name."""

import json
from dataclasses import replace

import pytest

from gatebench.bench.models.dimensions import (
    CONFIGURATION,
    FILES,
    KNOWN,
    NAME,
    PUBLISHED,
    dimensions_of,
    safetensors_shapes,
)
from gatebench.bench.models.source import ModelSource
from tests.gguf_files import given, words, write


def source(path, content="local", **more):
    return ModelSource(content, path=str(path), **more)


def tiny(**more):
    from transformers import LlamaConfig, LlamaForCausalLM

    shared = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shared, intermediate_size=48, vocab_size=96, **more))


@pytest.mark.parametrize("tied", [True, False])
def test_files_tell_more_than_the_name_of_their_folder(tmp_path, tied):
    model = tiny(tie_word_embeddings=tied)
    folder = tmp_path / "exp3b" / "SmolLM2-135M"
    model.save_pretrained(folder)
    found = dimensions_of(source(folder))
    assert found.known_by == FILES
    assert found.parameters == model.num_parameters()
    assert (found.layers, found.hidden, found.keys, found.feed_forward, found.vocabulary) == (2, 32, 16, 48, 96)


def test_an_adapter_is_as_large_as_peft_makes_it(tmp_path):
    from peft import get_peft_model

    from gatebench.bench.models.loading import lora_config
    from gatebench.bench.models.source import Adapter

    model = tiny()
    model.save_pretrained(tmp_path / "model")
    found = dimensions_of(source(tmp_path / "model"))
    made = get_peft_model(model, lora_config(Adapter(r=4), model))
    assert found.adapter_parameters(4) == made.get_nb_trainable_parameters()[0]


def test_a_gguf_file_says_as_much_as_the_folder_it_becomes(tmp_path):
    what = given("llama", words())
    what.model.save_pretrained(tmp_path / "model")
    file = str(write(what, tmp_path / "model.gguf"))
    ours, theirs = dimensions_of(source(file, parts=(file,))), dimensions_of(source(tmp_path / "model"))
    assert sorted(ours.linear) == sorted(theirs.linear)
    assert replace(ours, linear=()) == replace(theirs, linear=())


def test_without_weights_the_configuration_tells(tmp_path):
    model = tiny()
    model.config.save_pretrained(tmp_path)
    found = dimensions_of(source(tmp_path))
    assert (found.known_by, found.parameters) == (CONFIGURATION, model.num_parameters())


def test_a_model_of_the_hub_is_read_from_its_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0" * 40
    place = tmp_path / "models--some--thing-7b"
    model = tiny()
    model.save_pretrained(place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = dimensions_of(source("some/thing-7b", "hub:some/thing-7b@main"))
    assert (found.known_by, found.parameters) == (FILES, model.num_parameters())


@pytest.mark.parametrize(
    ("path", "parameters"),  # Biderman et al. 2023, table 1; Qwen2.5's report, table 1; Touvron et al. 2023, table 2
    [("EleutherAI/pythia-70m", 70.4e6), ("EleutherAI/pythia-410m", 405.3e6), ("EleutherAI/pythia-2.8b", 2775.2e6),
     ("Qwen/Qwen2.5-0.5B", 494e6), ("Qwen/Qwen2.5-7B", 7.615e9), ("huggyllama/llama-7b", 6.738e9)],
)  # fmt: skip
def test_published_sizes(path, parameters, monkeypatch):
    found = KNOWN[path].dimensions()
    assert found.parameters == pytest.approx(parameters, rel=0.005)
    assert found.known_by == PUBLISHED


@pytest.mark.parametrize(("path", "expected"), [("a/b-410m", 4.1e8), ("a/B-0.5B", 5e8), ("a/c-3b", 3e9)])
def test_the_size_in_a_name_is_the_last_resort(path, expected):
    found = dimensions_of(source(path, f"hub:{path}@main"))
    assert (found.parameters, found.known_by) == (expected, NAME)


def test_a_name_without_a_size_tells_nothing():
    assert dimensions_of(source("somebody/model", "hub:somebody/model@main")) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, (3).to_bytes(8, "little") + b"{no", b"\x02" + b"\0" * 7 + b"[]"]
)
def test_files_that_cannot_be_read_tell_nothing(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 4}))
    (tmp_path / "model.safetensors").write_bytes(content)
    assert dimensions_of(source(tmp_path)) is None


def test_headers_of_all_shards_count(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert set(safetensors_shapes(tmp_path)) == {name for name, _ in model.named_parameters()}
