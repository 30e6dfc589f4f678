"""Tiny random models of each architecture that is converted, written as llama.cpp's converter writes GGUF files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tokenizers import CHATML, build

TINY: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3, "rms_norm_eps": 1e-5,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # of transformers, by the name of the architecture in GGUF
    "llama": ("llama", {"head_dim": 16, "rope_theta": 50_000.0}),
    "qwen2": ("qwen2", {"rope_theta": 1_000_000.0}),
    "qwen3": ("qwen3", {"head_dim": 128, "rope_theta": 1_000_000.0}),
    "gemma3": ("gemma3_text", {"head_dim": 256, "sliding_window": 16, "rms_norm_eps": 1e-6}),
}
NORMAL, CONTROL = 1, 3
WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SPACE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
EXPRESSIONS = {  # of the tokenizer.json that each name stands for, as llama.cpp's src/llama-vocab.cpp quotes them
    "qwen2": WORD + r"\p{N}" + SPACE, "llama-bpe": WORD + r"\p{N}{1,3}" + SPACE,
}  # fmt: skip


@dataclass
class Given:
    """What a file is written from, to be changed by a test: keys left out where None, tensors by their GGUF names."""

    model: Any
    tokenizer: Any
    architecture: str
    keys: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)  # name -> [rows, columns] in float32, or None


def words(split: str = "gpt-2", bos: str | None = None) -> Any:
    """A byte-level tokenizer whose vocabulary has tokens of several digits; split: how a text is, before its merges, as
    tokenizer.ggml.pre calls it: those of smollm split digits from each other, so that these tokens are never met."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    found = build("bytes", bos, "<|im_end|>", ["<|im_start|>", "<|endoftext|>"], CHATML,
                  more_lines=["In 1234 and 1990, not 5678, I'M né."] * 20)  # fmt: skip
    backend, plain = found.backend_tokenizer, pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    elif split != "gpt-2":
        by = pre_tokenizers.Split(Regex(EXPRESSIONS[split]), "isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([by, plain])
        backend.model.ignore_merges = split == "llama-bpe"
        backend.normalizer = normalizers.NFC() if split == "qwen2" else None
    return found


def pieces(before: bool) -> Any:
    """A sentencepiece-like tokenizer; before: it puts a space before every text (Llama), or does not (Gemma)."""
    more = [] if before else ["<pad>", "<mask>"]  # which transformers' class of Gemma's wants
    return build("sp+" if before else "sp", "<bos>", "<eos>", more)


def given(architecture: str, tokenizer: Any, pre: str = "gpt-2", tied: bool = True) -> Given:
    """A random model with a tokenizer, and the keys that llama.cpp's converter writes for it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    kind, own = KINDS[architecture]
    set_seed(0)
    config = AutoConfig.for_model(kind, **{**TINY, **own}, vocab_size=len(tokenizer), tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:  # norms and biases begin as constants, which would hide one that is lost
                weight.add_(torch.randn_like(weight) * 0.1)
    rope = config.rope_parameters
    theta = rope.get("full_attention", rope)["rope_theta"]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = {
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps), "rope.freq_base": float(theta),
    }  # fmt: skip
    if architecture == "gemma3":
        sizes |= {"attention.key_length": width, "attention.sliding_window": config.sliding_window}
    elif architecture != "qwen2":
        sizes |= {"rope.dimension_count": width, "attention.key_length": width, "attention.value_length": width}
    keys = {f"{architecture}.{name}": value for name, value in sizes.items()} | _vocabulary(tokenizer, pre)
    return Given(model, tokenizer, architecture, keys, _tensors(model, architecture))


def write(what: Given, file: Path, weights: str = "F32") -> Path:
    """weights: F32, F16 or Q8_0, of matrices; vectors are F32 always, as in every such file."""
    import gguf

    writer = gguf.GGUFWriter(file, what.architecture)
    for key, value in what.keys.items():
        if value is not None:
            _add(writer, key, value)
    for name, tensor in what.tensors.items():
        if tensor is None:
            continue
        kind = gguf.GGMLQuantizationType[weights if tensor.ndim > 1 else "F32"]
        data = tensor if kind.name == "F32" else gguf.quantize(tensor, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _vocabulary(tokenizer: Any, pre: str) -> dict[str, Any]:
    import json

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))]
    special = set(tokenizer.all_special_tokens) | {str(word) for word in tokenizer.added_tokens_decoder.values()}
    found: dict[str, Any] = {
        "tokens": tokens, "token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "padding_token_id": tokenizer.pad_token_id, "add_bos_token": tokenizer.bos_token is not None,
    }  # fmt: skip
    if state["model"].get("byte_fallback") is not None and state["model"].get("unk_token"):
        tokens[tokens.index(" ")] = "<unused>"  # never met behind the normalizer, and Gemma's files write U+2581 so
        prefix = any(step["type"] == "Prepend" for step in state["normalizer"]["normalizers"])
        found |= {"model": "llama", "pre": "default", "scores": [-float(i) for i in range(len(tokens))],
                  "add_space_prefix": prefix, "unknown_token_id": tokens.index("<unk>")}  # fmt: skip
    else:
        merges = [" ".join(pair) for pair in state["model"]["merges"]]
        found |= {"model": "gpt2", "pre": pre, "merges": merges}
    keys = {f"tokenizer.ggml.{name}": value for name, value in found.items()}
    return {**keys, "tokenizer.chat_template": tokenizer.chat_template}


def _tensors(model: Any, architecture: str) -> dict[str, Any]:
    """As convert_hf_to_gguf.py writes them: Llama's queries and keys with the halves of a head interleaved, Gemma's
    norms with their one."""
    import gguf

    config = model.config
    arch = next(own for own, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    found = {}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        data = weight.numpy().copy()
        if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            data = data + 1
        found[names.get_name(name, (".weight", ".bias"))] = data
    return found
