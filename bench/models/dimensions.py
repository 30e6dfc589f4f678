"""How large a model is, without loading a weight: by the headers of its files, where they are on a disk or in the hub's
cache; else by its configuration; else, of a name on the hub, by what is published, and last by the name itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from gatebench.bench.models import ladder
from gatebench.bench.models.gguf.header import UnreadableGguf, header_of
from gatebench.bench.models.source import ModelSource

FILES, CONFIGURATION, PUBLISHED, NAME = "files", "configuration", "published", "name"
SCALES = {"m": 1e6, "b": 1e9}
HEADER_LENGTH = 8  # bytes before the header of a safetensors file, little-endian
MOST_HEADER = 100_000_000  # bytes, the format's own limit
GUESSED_LAYERS, GUESSED_VOCABULARY = 24, 100_000  # of a model known by the size in its name alone
PARAMETERS_A_LAYER = 12  # times hidden^2 (Kaplan et al. 2020)


@dataclass(frozen=True)
class Dimensions:
    """A decoder's size. parameters: tied ones counted once; keys: numbers of a token's keys in one layer, as many as of
    its values; feed_forward: hidden units of the MLP; linear: (inputs, outputs) of every linear map of all layers, to
    which an adapter is added; known_by: FILES, CONFIGURATION, PUBLISHED or NAME."""

    parameters: float
    layers: int
    hidden: int
    heads: int
    keys: int
    feed_forward: int
    vocabulary: int
    linear: tuple[tuple[int, int], ...]
    known_by: str

    def adapter_parameters(self, rank: int) -> int:
        """Of a LoRA adapter: two matrices beside each linear map (Hu et al. 2021, sec. 4.1)."""
        return sum(rank * (inputs + outputs) for inputs, outputs in self.linear)


@dataclass(frozen=True)
class _Published:
    """As in the model's config.json on the hub; gated: three matrices in the MLP, not two."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    key_heads: int | None = None
    gated: bool = True
    tied: bool = False

    def dimensions(self, known_by: str = PUBLISHED) -> Dimensions:
        h, f = self.hidden, self.feed_forward
        keys = h // self.heads * (self.key_heads or self.heads)
        layer = [(h, h), (h, keys), (h, keys), (h, h), *([(h, f)] * (1 + self.gated)), (f, h)]
        if self.key_heads is None and not self.gated:  # GPT-NeoX has queries, keys and values in one map
            layer = [(h, 3 * h), (h, h), (h, f), (f, h)]
        matrices = self.layers * sum(inputs * outputs for inputs, outputs in layer)
        ends = (1 if self.tied else 2) * self.vocabulary * h
        linear = tuple(layer) * self.layers
        return Dimensions(matrices + ends, self.layers, h, self.heads, keys, f, self.vocabulary, linear, known_by)


def _pythia(layers: int, hidden: int, heads: int, vocabulary: int = 50304) -> _Published:
    return _Published(layers, hidden, heads, 4 * hidden, vocabulary, gated=False)


# Biderman et al. 2023, table 1; Qwen2.5 technical report 2024, table 1; Touvron et al. 2023, table 2; vocabularies as
# padded in each model's config.json.
KNOWN = {
    "EleutherAI/pythia-70m": _pythia(6, 512, 8), "EleutherAI/pythia-160m": _pythia(12, 768, 12),
    "EleutherAI/pythia-410m": _pythia(24, 1024, 16), "EleutherAI/pythia-1b": _pythia(16, 2048, 8),
    "EleutherAI/pythia-1.4b": _pythia(24, 2048, 16), "EleutherAI/pythia-2.8b": _pythia(32, 2560, 32),
    "Qwen/Qwen2.5-0.5B": _Published(24, 896, 14, 4864, 151936, 2, tied=True),
    "Qwen/Qwen2.5-7B": _Published(28, 3584, 28, 18944, 152064, 4),
    "huggyllama/llama-7b": _Published(32, 4096, 32, 11008, 32000),
}  # fmt: skip


def dimensions_of(model: ModelSource) -> Dimensions | None:
    """The size of a model; None where not even its name tells it. Nothing is fetched."""
    if model.is_builtin:
        return _of_builtin(model.path)
    if model.parts:
        return _of_gguf(model.parts)
    if Path(model.path).exists():
        return _of_folder(model.path)
    cached = _in_the_cache(model.path, model.revision)
    if cached and (found := _of_folder(cached)):
        return found
    if model.path in KNOWN:
        return KNOWN[model.path].dimensions()
    return _of_name(model.path)


def safetensors_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in the *.safetensors of a folder, by its name, from the files' headers.

    Raises OSError or ValueError for files that cannot be read or are no such files.
    """
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(HEADER_LENGTH), "little")
            if not 0 < length <= MOST_HEADER:
                raise ValueError(f"{file} is no safetensors file")
            header: dict[str, dict[str, list[int]]] = json.loads(opened.read(length))
        if not isinstance(header, dict):
            raise ValueError(f"{file} is no safetensors file")
        found |= {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    return found


def of_tensors(
    config: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]], known_by: str = FILES
) -> Dimensions:
    """By a config.json and the shapes of all tensors. Raises KeyError where the config has no names known here."""
    text = config.get("text_config")
    if isinstance(text, dict):
        config = {**config, **text}
    hidden, layers = _number(config, "hidden_size", "n_embd"), _number(config, "num_hidden_layers", "n_layer")
    heads = _number(config, "num_attention_heads", "n_head")
    head = _number(config, "head_dim", default=hidden // heads)
    keys = head * _number(config, "num_key_value_heads", default=heads)
    inner = _number(config, "intermediate_size", "n_inner", default=4 * hidden)
    vocabulary = _number(config, "vocab_size")
    linear = tuple((s[1], s[0]) for name, s in shapes.items() if len(s) == 2 and name.endswith(".weight")
                   and "embed" not in name and vocabulary not in s)  # fmt: skip
    total = sum(math.prod(shape) for shape in shapes.values())
    return Dimensions(total, layers, hidden, heads, keys, inner, vocabulary, linear, known_by)


@lru_cache(maxsize=64)
def _of_gguf(parts: tuple[str, ...]) -> Dimensions | None:
    """By the header of a file; None where it cannot be read, which whoever converts it will say better."""
    try:
        header = header_of(*parts)
        own = {name.removeprefix(f"{header.architecture}."): value for name, value in header.metadata.items()}
        hidden, heads = _number(own, "embedding_length"), _number(own, "attention.head_count")
        head = _number(own, "attention.key_length", default=hidden // heads)
        keys = head * _number(own, "attention.head_count_kv", default=heads)
        linear = tuple((t.shape[1], t.shape[0]) for t in header.tensors
                       if len(t.shape) == 2 and t.name.startswith("blk."))  # fmt: skip
        vocabulary = next(tensor.shape[0] for tensor in header.tensors if tensor.name == "token_embd.weight")
        layers, inner = _number(own, "block_count"), _number(own, "feed_forward_length")
        return Dimensions(header.parameters, layers, hidden, heads, keys, inner, vocabulary, linear, FILES)
    except (OSError, UnreadableGguf, KeyError, StopIteration):
        return None


def _number(config: Mapping[str, object], *names: str, default: int | None = None) -> int:
    for name in names:
        if isinstance(value := config.get(name), int):
            return value
    if default is None:
        raise KeyError(names[0])
    return default


@lru_cache(maxsize=64)
def _of_folder(path: str) -> Dimensions | None:
    """None where the files cannot be read, which whoever loads them will say better."""
    folder = Path(path)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        if shapes := safetensors_shapes(folder):
            return of_tensors(config, shapes)
        return of_tensors(config, dict(_on_no_device(path)), CONFIGURATION)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _on_no_device(path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes by the architecture alone, for a configuration without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    for name, parameter in model.named_parameters():
        yield name, tuple(parameter.shape)


def _in_the_cache(name: str, revision: str | None) -> str | None:
    """The folder of a hub model's newest files on this machine."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    return str(Path(found).parent) if isinstance(found, str) else None


def _of_builtin(path: str) -> Dimensions:
    shape = ladder.shape_of(path)
    is_neox = path.removeprefix(ladder.PREFIX).startswith("neox")
    inner = 4 * shape.hidden if is_neox else round(8 * shape.hidden / 3 / 16) * 16
    made = _Published(shape.layers, shape.hidden, shape.heads, inner, ladder.VOCABULARY, gated=not is_neox)
    return made.dimensions(CONFIGURATION)


def _of_name(path: str) -> Dimensions | None:
    """By the size in a name (410m, 0.5B, 7b), a decoder of the common proportions."""
    found = re.search(r"(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", path.lower())
    if found is None:
        return None
    parameters = float(found[1]) * SCALES[found[2]]
    hidden = round(math.sqrt(parameters / (PARAMETERS_A_LAYER * GUESSED_LAYERS)))
    heads = max(1, hidden // 64)
    made = _Published(GUESSED_LAYERS, hidden, heads, 4 * hidden, GUESSED_VOCABULARY, gated=False).dimensions(NAME)
    return replace(made, parameters=parameters)
