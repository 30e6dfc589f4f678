"""What a configuration says against computing a prompt once for several responses, before any model is asked.

What it does not say, proof.py finds on the loaded model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatebench.objectives.causal_lm import CausalLMConfig

MASKED_LAYERS = {"full_attention", "sliding_attention", "attention"}  # transformers' names for what a mask can cut


def refusal(config: CausalLMConfig, text: int, columns: int) -> str | None:
    """Why a model must not take the fast paths, to follow its name in a sentence; None where nothing speaks against it.

    text: tokens of the longest prompt with one response; columns: of the widest row as it is laid out.
    """
    own = config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        return "is an encoder and a decoder"
    others = sorted(set(getattr(own, "layer_types", None) or ()) - MASKED_LAYERS)
    if others:
        return f"has layers of {', '.join(others)}, which no mask divides"
    for window, length in ((_sliding_window(own), text), (_local_window(own), columns)):
        if window is not None and window < length:
            return f"looks back {window} tokens where rows have up to {length}"
    for kind, longest in _rope_that_grows(own):
        if text > longest:
            return (
                f"changes its {kind} rotary frequencies where a batch holds more than {longest} tokens (rows have up to"
                f" {text}), so that a log-prob depends on what else is in its batch"
            )
    return None


def _sliding_window(config: CausalLMConfig) -> int | None:
    """Masked by transformers itself, which leaves a mask of ours as it is: a text must fit."""
    kinds = getattr(config, "layer_types", None)
    if getattr(config, "use_sliding_window", True) is False or (kinds and "sliding_attention" not in kinds):
        return None
    return getattr(config, "sliding_window", None)


def _local_window(config: CausalLMConfig) -> int | None:
    """GPT-Neo's, cut by columns whatever the mask and the positions are: a row must fit."""
    return getattr(config, "window_size", None) if "local" in getattr(config, "attention_layers", ()) else None


def _rope_that_grows(config: CausalLMConfig) -> Iterator[tuple[str, int]]:
    """Kinds of rotary embedding that are computed anew for long inputs, and up to which length they are not."""
    given: Mapping[str, object] = getattr(config, "rope_parameters", None) or {}
    for own in [given, *(value for value in given.values() if isinstance(value, dict))]:  # one, or one a kind of layer
        kind, original = own.get("rope_type"), own.get("original_max_position_embeddings")
        if kind == "longrope" and isinstance(original, int):
            yield kind, original
        elif kind == "dynamic":
            yield kind, config.max_position_embeddings
