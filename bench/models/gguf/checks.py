"""Whether transformers' reader makes of a GGUF file the model that it is, known from its header.

The reader passes over what it does not know: a key of another way to compute, a tensor without a place. Here a file is
taken only where every key of its architecture and every tensor is one that the reader uses or that says what it assumes
anyway; each architecture is one whose conversion tests/bench/models/gguf proves against the model it was written from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeGuard

from gatebench.bench.models.gguf.header import Header, Value
from gatebench.objectives.names import nearest

COUNTS = (
    "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv",
)  # fmt: skip
POSITIVE = ("attention.layer_norm_rms_epsilon", "rope.freq_base")
WIDTHS = ("rope.dimension_count", "attention.key_length", "attention.value_length")  # of a head
TOLD = ("vocab_size", "rope.scaling.type")
ARCHITECTURES: dict[str, tuple[str, ...]] = {  # what the reader takes of each beyond COUNTS and POSITIVE
    "llama": (), "qwen2": (), "qwen3": (), "gemma3": ("attention.key_length", "attention.sliding_window"),
}  # fmt: skip
TENSOR = re.compile(
    r"(token_embd|output_norm|output)\.weight|blk\.(\d+)\.(attn_(q|k|v)\.(weight|bias)|(attn_(norm|output|q_norm|k_norm)"
    r"|ffn_(norm|gate|up|down)|post_attention_norm|post_ffw_norm)\.weight)"
)
# widths that the file does not decide, since the reader leaves them at the architecture's own; Gemma's is also the
# scale of its attention, and its 27B model, where the two differ, does not say so
FIXED_WIDTHS = {"qwen3": 128, "gemma3": 256}


def wrong_header(header: Header) -> Iterator[str]:
    """A sentence for each thing that would be converted into another model, or not at all."""
    architecture = header.architecture
    if architecture not in ARCHITECTURES:
        known = nearest(architecture, list(ARCHITECTURES))
        yield f"its architecture is {architecture!r}, which is not converted: {known}"
        return
    own = {key.removeprefix(f"{architecture}."): value for key, value in header.metadata.items()
           if key.startswith(f"{architecture}.")}  # fmt: skip
    needed = (*COUNTS, *ARCHITECTURES[architecture])
    absent = [key for key in (*needed, *POSITIVE) if key not in own]
    if absent:
        yield f"its header lacks {architecture}.{absent[0]}"
        return
    for key in needed:
        if not _is_count(own[key]):
            yield f"its {architecture}.{key} is {own[key]!r}; a number above 0 is expected"
            return
    yield from _lost(header, own)
    yield from _wrong_widths(architecture, own)
    yield from _wrong_tensors(header, own)


def _is_count(value: Value) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _lost(header: Header, own: dict[str, Value]) -> Iterator[str]:
    """Keys that change what the model computes, and that the reader passes over."""
    known = (*COUNTS, *POSITIVE, *WIDTHS, *TOLD, *ARCHITECTURES[header.architecture])
    for key in sorted(own.keys() - set(known)):
        told = f"its {header.architecture}.{key} is {str(own[key])[:60]}"
        yield f"{told}, which would be lost; such a model is not converted"
    if own.get("rope.scaling.type", "none") != "none":
        yield f"its rotary positions are scaled ({own['rope.scaling.type']}), which would be lost; it is not converted"
    for key in POSITIVE:
        value = own[key]
        if not (isinstance(value, float) and 0 < value < float("inf")):
            yield f"its {header.architecture}.{key} is {value!r}; a number above 0 is expected"
    if (header.metadata.get("split.count") or 1) != 1:
        yield "it is one of several files of a model; join them (llama-gguf-split --merge) and name the whole"


def _wrong_widths(architecture: str, own: dict[str, Value]) -> Iterator[str]:
    size, heads = own["embedding_length"], own["attention.head_count"]
    if not (_is_count(size) and _is_count(heads)):
        return
    first = own.get("rope.dimension_count", size // heads) if architecture == "llama" else size // heads
    width = FIXED_WIDTHS.get(architecture, first)
    for key in WIDTHS:
        if own.get(key, width) != width:
            yield f"its {architecture}.{key} is {own[key]!r}, which would be lost: {width} is what it is read as"


def _wrong_tensors(header: Header, own: dict[str, Value]) -> Iterator[str]:
    names = {tensor.name: TENSOR.fullmatch(tensor.name) for tensor in header.tensors}
    strange = sorted(name for name, match in names.items() if match is None)
    if strange:
        yield f"{len(strange)} of its tensors would be lost, as {strange[0]}; such a model is not converted"
    blocks = {int(match[2]) for match in names.values() if match and match[2]}
    if own["block_count"] != len(blocks) or blocks != set(range(len(blocks))):
        yield f"its block_count is {own['block_count']}, and it has tensors of {len(blocks)} blocks"
    for kind in sorted({tensor.kind for tensor in header.tensors}):
        if (name := _not_read(kind)) is not None:
            yield f"its weights are of type {name}, which transformers does not read; take a file of another type"


def _not_read(kind: int) -> str | None:
    """The name of a type of weights that cannot be made numbers again, tried on a block of zeros."""
    import numpy
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    named = GGMLQuantizationType(kind)
    try:
        dequantize(numpy.zeros((1, GGML_QUANT_SIZES[named][1]), numpy.uint8), named)
    except NotImplementedError:
        return str(named.name)
    return None
