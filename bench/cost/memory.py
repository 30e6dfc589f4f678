"""The memory that a stage needs at its peak, from its amount and the size of its model. Pure."""

from __future__ import annotations

from gatebench.bench.models.dimensions import Dimensions
from gatebench.bench.models.source import FLOAT32, ModelSource
from gatebench.bench.stages.stage import BYTES, SCORED_LOGITS, Amount

WIDE = BYTES[FLOAT32]
# Bytes that the backward pass keeps of a token in a layer: (a hidden unit, a number of its key, a hidden unit of the
# MLP). Counted by torch's saved_tensors_hooks on Llama, Qwen2 (gated MLP) and GPT-NeoX (plain) of transformers 5.19.
GATED = {"float32": (32, 8, 16), "bfloat16": (42, 10, 11)}
PLAIN = {"float32": (24, 8, 8), "bfloat16": (26, 8, 6)}
BETWEEN_LAYERS = WIDE  # bytes of a hidden unit that are kept where the rest is computed again
TILE = 2 * 4096 * 8192 * WIDE  # bytes of the two tiles of logits that preference training holds (TRL's chunked head)


def peak_memory(amount: Amount, size: Dimensions, model: ModelSource) -> float:
    """Bytes of weights, gradients, optimizer, activations and logits together; not what the process itself takes."""
    n = size.parameters
    adapter = size.adapter_parameters(model.adapter.r) if model.adapter else 0
    trained = adapter or n
    if not amount.states:
        return amount.held * n + _cache(amount, size) + _logits(amount, size)
    cast = BYTES[model.dtype] * trained if model.dtype != FLOAT32 else 0  # autocast keeps the weights it has cast
    weights = amount.held * n + WIDE * (adapter + amount.states * trained) + cast
    return weights + _activations(amount, size, model) + (_logits(amount, size) or TILE)


def _activations(amount: Amount, size: Dimensions, model: ModelSource) -> float:
    is_gated = size.linear.count((size.hidden, size.feed_forward)) > size.layers
    hidden, keys, inner = (GATED if is_gated else PLAIN)[model.dtype]
    layer = hidden * size.hidden + keys * size.keys + inner * size.feed_forward
    if model.adapter:  # what goes into each map is kept once more, for the adapter beside it
        layer += BYTES[model.dtype] * sum(inputs for inputs, _ in size.linear) // max(1, size.layers)
    whole = size.layers * layer
    if amount.checkpointing:
        whole = size.layers * BETWEEN_LAYERS * size.hidden + layer
    return amount.batch_tokens * whole


def _cache(amount: Amount, size: Dimensions) -> float:
    """Keys and values of what is read; where that is prompts, a copy of them for each of the responses behind it."""
    copies = 2 if amount.responses > 1 else 1
    return copies * amount.batch_tokens * size.layers * 2 * size.keys * min(WIDE, amount.held)


def _logits(amount: Amount, size: Dimensions) -> float:
    numbers = amount.logits * size.vocabulary
    if not amount.states and not amount.at_once:
        numbers = min(numbers, SCORED_LOGITS)
    return WIDE * amount.copies * numbers
