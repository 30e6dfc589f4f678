"""Small random models of transformers' families, and what each fast path makes of them.

    python -m tests.architectures

prints for every path the largest difference from plain transformers: of log-probs in nats a token, and of gradients as
a share of the largest. `plain` is a path that was not admitted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

V = 96
COMMON: dict[str, Any] = {
    "vocab_size": V, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.3,
    "tie_word_embeddings": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OTHER = {name: COMMON[name] for name in ("vocab_size", "hidden_size", "initializer_range", "max_position_embeddings")}
DEEP = {**OTHER, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT = {"vocab_size": V, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3,
       "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
OPT = {**DEEP, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}
NEO = {**OTHER, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}
EXPERTS = {**COMMON, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
           "shared_expert_intermediate_size": 16}  # fmt: skip
LATENT = {**EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "kv_lora_rank": 8, "q_lora_rank": 8,
          "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "num_key_value_heads": 4}  # fmt: skip
TWO_KINDS = ["sliding_attention", "full_attention"]
LONGEST = 32  # tokens of a text of PROMPTS and RESPONSES
PROMPTS = [[3 + 7 * i % 90 for i in range(20)], [5 + 11 * i % 90 for i in range(9)]]
RESPONSES = [[[4 + 13 * i % 90 for i in range(12)], [6 + 17 * i % 90 for i in range(7)]],
             [[7 + 19 * i % 90 for i in range(5)], [8 + 23 * i % 90 for i in range(14)]]]  # fmt: skip


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0, **more}}


class Case(NamedTuple):
    """scoring, rows: what is said against the cached prompt and against one row a pair or several; "" where nothing."""

    kind: str
    fields: dict[str, Any]
    scoring: str = ""
    rows: str = ""


WINDOW = "looks back 8 tokens"
GROWS = "rotary frequencies where a batch holds more than 16 tokens"
NO_MASK = "which no mask divides"
LONG = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
CASES: dict[str, Case] = {
    "gpt_neox": Case("gpt_neox", {**DEEP, "intermediate_size": 48, "tie_word_embeddings": False}),
    "llama": Case("llama", COMMON),
    "llama, linear rope": Case("llama", {**COMMON, **rope("linear")}),
    "llama, yarn": Case("llama", {**COMMON, **rope("yarn", original_max_position_embeddings=16)}),
    "llama, llama3 rope": Case("llama", {**COMMON, **rope(
        "llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)}),
    "llama, dynamic rope": Case("llama", {**COMMON, **rope("dynamic")}),
    "llama, dynamic rope beyond": Case("llama", {**COMMON, "max_position_embeddings": 16, **rope("dynamic")},
                                       GROWS, GROWS),
    "phi3, longrope": Case("phi3", {**COMMON, **rope("longrope", **LONG), "original_max_position_embeddings": 64}),
    "phi3, longrope beyond": Case("phi3", {**COMMON, **rope("longrope", **LONG),
                                           "original_max_position_embeddings": 16}, GROWS, GROWS),
    "mistral": Case("mistral", {**COMMON, "sliding_window": None}),
    "mistral, window": Case("mistral", {**COMMON, "sliding_window": 8}, WINDOW, WINDOW),
    "mistral, a text long": Case("mistral", {**COMMON, "sliding_window": LONGEST}, "looks back 32 tokens"),
    "qwen2": Case("qwen2", COMMON),
    "qwen2, window": Case("qwen2", {**COMMON, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
                          WINDOW, WINDOW),
    "qwen2, window not used": Case("qwen2", {**COMMON, "sliding_window": 8}),
    "qwen3": Case("qwen3", COMMON),
    "qwen3, layer types": Case("qwen3", {**COMMON, "use_sliding_window": True, "sliding_window": 8,
                                         "layer_types": TWO_KINDS}, WINDOW, WINDOW),
    "gemma": Case("gemma", COMMON),
    "gemma2": Case("gemma2", {**COMMON, "sliding_window": 64, "query_pre_attn_scalar": 8}),
    "gemma2, window": Case("gemma2", {**COMMON, "sliding_window": 8}, WINDOW, WINDOW),
    "gemma3_text": Case("gemma3_text", {**COMMON, "sliding_window": 64, "layer_types": TWO_KINDS}),
    "gemma3_text, window": Case("gemma3_text", {**COMMON, "sliding_window": 8, "layer_types": TWO_KINDS},
                                WINDOW, WINDOW),
    "gemma3, with pictures": Case("gemma3", {
        "text_config": {**COMMON, "sliding_window": 64, "model_type": "gemma3_text"}, "mm_tokens_per_image": 4,
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 16,
                          "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}}),
    "phi": Case("phi", COMMON),
    "phi3": Case("phi3", COMMON),
    "olmo": Case("olmo", COMMON),
    "olmo2": Case("olmo2", COMMON),
    "olmo3": Case("olmo3", {**COMMON, "sliding_window": 64}),
    "granite": Case("granite", {**COMMON, "logits_scaling": 4.0, "residual_multiplier": 0.5,
                                "embedding_multiplier": 2.0, "attention_multiplier": 0.3}),
    "cohere": Case("cohere", {**COMMON, "logit_scale": 0.25}),
    "cohere2": Case("cohere2", {**COMMON, "logit_scale": 0.25, "sliding_window": 64}),
    "stablelm": Case("stablelm", COMMON),
    "starcoder2": Case("starcoder2", {**COMMON, "sliding_window": None}),
    "smollm3": Case("smollm3", COMMON),
    "glm4": Case("glm4", COMMON),
    "nemotron": Case("nemotron", COMMON),
    "exaone4": Case("exaone4", {**COMMON, "sliding_window": 64}),
    "gpt2": Case("gpt2", GPT),
    "gpt2, a text long": Case("gpt2", {**GPT, "n_positions": LONGEST}),
    "gpt_bigcode": Case("gpt_bigcode", GPT),
    "gptj": Case("gptj", {**GPT, "rotary_dim": 4}),
    "gpt_neo": Case("gpt_neo", {**NEO, "window_size": 200}),
    "gpt_neo, window": Case("gpt_neo", {**NEO, "window_size": 8}, WINDOW, WINDOW),
    "opt": Case("opt", OPT),
    "xglm": Case("xglm", {**OTHER, "d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4,
                          "init_std": 0.3}),
    "falcon": Case("falcon", DEEP),
    "falcon, alibi": Case("falcon", {**DEEP, "alibi": True}, "", "cannot do it"),
    "bloom": Case("bloom", {"vocab_size": V, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
                  "", "cannot do it"),
    "mpt": Case("mpt", {"vocab_size": V, "d_model": 32, "n_layers": 2, "n_heads": 4, "initializer_range": 0.3},
                "differs from plain", "differs from plain"),
    "mixtral": Case("mixtral", {**EXPERTS, "sliding_window": None}),
    "qwen2_moe": Case("qwen2_moe", EXPERTS),
    "qwen3_moe": Case("qwen3_moe", EXPERTS),
    "olmoe": Case("olmoe", EXPERTS),
    "granitemoe": Case("granitemoe", {**EXPERTS, "logits_scaling": 4.0}),
    "deepseek_v3": Case("deepseek_v3", LATENT),
    "gpt_oss": Case("gpt_oss", {**EXPERTS, "sliding_window": 64}),
    "llama4_text": Case("llama4_text", {**EXPERTS, "attention_chunk_size": 8, "intermediate_size_mlp": 48},
                        NO_MASK, NO_MASK),
    "qwen3_next": Case("qwen3_next", {**EXPERTS, "layer_types": ["linear_attention", "full_attention"],
                                      "linear_num_value_heads": 4, "linear_num_key_heads": 2,
                                      "linear_key_head_dim": 8, "linear_value_head_dim": 8}, NO_MASK, NO_MASK),
    "lfm2": Case("lfm2", {**COMMON, "layer_types": ["conv", "full_attention"]}, NO_MASK, NO_MASK),
    "mamba": Case("mamba", {"vocab_size": V, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2,
                            "initializer_range": 0.3}, NO_MASK, NO_MASK),
    "mamba2": Case("mamba2", {"vocab_size": V, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2,
                              "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16,
                              "initializer_range": 0.3}, NO_MASK, NO_MASK),
}  # fmt: skip


def make(name: str) -> Any:
    """The model of a case, in float32, with attention as transformers chooses it and load_policy mends it."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    from gatebench.bench.models.loading import advised

    set_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(CASES[name].kind, **CASES[name].fields))
    return advised(model.float().eval())


def save(name: str, tokenizer: Any, folder: Path) -> Path:
    """The model of a case with the words of a tokenizer, as a user has it on disk."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    set_seed(0)
    config = AutoConfig.for_model(CASES[name].kind, **{**CASES[name].fields, "vocab_size": len(tokenizer)})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain(model: Any) -> Any:
    """Log-probs of all responses, each in an ordinary row of its own, [N]."""
    import torch

    from gatebench.objectives.layout.proof import plain_log_probs

    texts = [(prompt, tokens) for prompt, own in zip(PROMPTS, RESPONSES, strict=True) for tokens in own]
    return torch.cat([plain_log_probs(model, *text) for text in texts])


def scored(model: Any) -> tuple[str | None, Any]:
    """What is said against the cached prompt, and the log-probs as they are then computed, [N]."""
    import torch

    from gatebench.objectives.layout.scoring import map_batches, reader_of
    from gatebench.objectives.layout.shared_prompt import target_log_probs

    reader = reader_of(model, PROMPTS, RESPONSES)
    found: dict[tuple[int, int], list[float]] = {}

    def keep(batch: Any) -> None:
        for value, at in zip(target_log_probs(batch.logits, batch.targets), batch.response, strict=True):
            found.setdefault(batch.owners[at], []).append(value)

    with torch.no_grad():
        map_batches(reader, PROMPTS, RESPONSES, keep, lambda share: None)
    return reader.caution, torch.stack([value for owner in sorted(found) for value in found[owner]])


def in_rows(model: Any, layout: str) -> tuple[str | None, Any]:
    """What is said against a layout, and its log-probs, [N]."""
    from gatebench.objectives.layout import shared_prompt
    from gatebench.objectives.layout.trl_output import layout_caution

    pairs = [(prompt, *own) for prompt, own in zip(PROMPTS, RESPONSES, strict=True)]
    caution = layout_caution(model, pairs, layout)
    if caution:
        return caution, None
    rows = shared_prompt.lay_out(PROMPTS, RESPONSES, [2] if layout == "packed" else None)
    return None, shared_prompt.target_log_probs(shared_prompt.response_logits(model, rows), rows.targets)


def packed_texts(model: Any, learned: bool = True) -> tuple[str | None, Any]:
    """What is said against the warm-up's packing, and the mean log-prob a token of the batch that it makes."""
    from gatebench.bench.stages.training.packing import Row, collator, padded

    rows = [Row([*prompt, *tokens], len(prompt)) for prompt, own in zip(PROMPTS, RESPONSES, strict=True)
            for tokens in own] + [Row([9, 8, 7, 6], 1)]  # fmt: skip
    collate, caution = collator(model, rows)
    return caution, -model(**(collate if learned else padded)(rows), use_cache=False).loss


def gradients(model: Any, log_probs: Any) -> list[Any]:
    """Of a sum in which every token counts otherwise."""
    import torch

    weights = 1 + 0.1 * torch.arange(log_probs.numel()).view_as(log_probs)
    total = (weights * log_probs).sum()
    found = torch.autograd.grad(total, list(model.parameters()), allow_unused=True, retain_graph=True)
    return [grad for grad in found if grad is not None]


def differences(model: Any, fast: Any, expected: Any) -> tuple[float, float]:
    """The largest of log-probs, and of gradients as a share of the largest gradient."""
    ours, theirs = gradients(model, fast), gradients(model, expected)
    largest = max(grad.abs().max().item() for grad in theirs)
    apart = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    return (fast - expected).abs().max().item(), apart / largest


def main() -> None:
    paths: dict[str, Callable[[Any], tuple[str | None, Any]]] = {
        "one_row": lambda model: in_rows(model, "one_row"), "packed": lambda model: in_rows(model, "packed"),
        "warm-up": packed_texts,
    }  # fmt: skip
    print(f"{'':27}{'attention':10}{'scoring':9}" + "".join(f"{name:>8} {'gradient':9}" for name in paths))
    for name in CASES:
        model = make(name)
        expected = {"scoring": plain(model), "warm-up": packed_texts(model, learned=False)[1]}
        caution, found = scored(model)
        cells = ["plain    " if caution else f"{(found - expected['scoring']).abs().max().item():.1e}  "]
        reasons = [caution] if caution else []
        for path, of in paths.items():
            caution, found = of(model)
            if caution:
                reasons.append(caution)
                cells.append(f"{'plain':>8} {'':9}")
            else:
                largest, share = differences(model, found, expected.get(path, expected["scoring"]))
                cells.append(f"{largest:8.1e} {share:<9.1e}")
        print(f"{name:27}{model.config._attn_implementation:10}{''.join(cells)}", *reasons[:1])


if __name__ == "__main__":
    main()
