"""The memory that a stage needs at its peak, from its amount and the size of its model. Pure."""

from __future__ import annotations

from gatebench.bench.models.dimensions import Dimensions
from gatebench.bench.models.source import FLOAT32, ModelSource
from gatebench.bench.stages.stage import BYTES, SCORE_COPIES, SCORED_LOGITS, Amount

WIDE = BYTES[FLOAT32]
# Bytes that the backward pass keeps of a token in a layer: (a hidden unit, a number of its key, a hidden unit of the
# MLP). Counted by torch's saved_tensors_hooks on Llama, Qwen2 (gated MLP) and GPT-NeoX (plain) of transformers 5.19.
# (gated, under an adapter, whose frozen maps keep no inputs) -> type -> those bytes
KEPT_BYTES = {
    (True, False): {"float32": (32, 8, 16), "bfloat16": (42, 10, 11)},
    (False, False): {"float32": (24, 8, 8), "bfloat16": (26, 8, 6)},
    (True, True): {"float32": (24, 8, 16), "bfloat16": (24, 4, 8)},
    (False, True): {"float32": (24, 8, 8), "bfloat16": (12, 4, 4)},
}
BETWEEN_LAYERS = WIDE  # bytes of a hidden unit that are kept where the rest is computed again
TWO_TILES = (
    2 * 4096 * 8192 * WIDE
)  # bytes of the two tiles of logits that preference training holds (TRL's chunked head)


def peak_memory(amount: Amount, size: Dimensions, model: ModelSource) -> float:
    """Bytes of weights, gradients, optimizer, activations and logits together, on each of its devices; not what the
    process itself takes."""
    n = size.parameters
    adapter = size.adapter_parameters(model.adapter.r) if model.adapter else 0
    trained = adapter or n
    if not amount.states:
        return amount.held * n + _cache(amount, size) + _logits(amount, size)
    cast = BYTES[model.dtype] * trained if model.dtype != FLOAT32 else 0  # autocast keeps the weights it has cast
    weights = amount.held * n + WIDE * (adapter + amount.states * trained) + cast
    parts, more = 1, 0.0
    if amount.spread and amount.spread.strategy == "fsdp":
        parts, more = amount.spread.devices, WIDE * _largest_part(size)
    elif amount.spread:
        more = WIDE * trained  # the gradients once more, as DDP exchanges them
    training = weights / parts + more + _activations(amount, size, model) + (_logits(amount, size) or TWO_TILES)
    if not amount.read:
        return training
    # probes are measured between two steps, without gradients, beside a float32 copy of the first policy, and where
    # devices hold parts of the weights on a copy with all of them
    kept = amount.held * n + WIDE * (adapter + (amount.states - 1) * trained)
    measuring = kept / parts + WIDE * n * (1 if parts == 1 else 2) + more
    return max(training, measuring + WIDE * SCORE_COPIES * SCORED_LOGITS)


def _largest_part(size: Dimensions) -> float:
    """Weights that FSDP has whole at a time: those outside the layers, beside one layer's."""
    layer = sum(rows * columns for rows, columns in size.linear) // max(1, size.layers)
    return size.parameters - layer * (size.layers - 1)


def _activations(amount: Amount, size: Dimensions, model: ModelSource) -> float:
    is_gated = size.linear.count((size.hidden, size.feed_forward)) > size.layers
    hidden, keys, inner = KEPT_BYTES[is_gated, model.adapter is not None][model.dtype]
    layer = hidden * size.hidden + keys * size.keys + inner * size.feed_forward
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
    first = amount.held < WIDE and not amount.states  # as the model gives them, before they are float32
    return (WIDE * amount.copies + amount.held * first) * numbers
