"""What a GGUF file says of its model, read without a weight: its metadata and its table of tensors.

The layout is that of ggml's docs/gguf.md, versions 2 and 3. The file is somebody else's: every length is held against
what is left of the file before anything is read or allocated for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import BinaryIO, TypeAlias

from gatebench.bench.models.gguf.parts import opened, size_of_parts

MAGIC, VERSIONS = b"GGUF", (2, 3)
MOST = 2**28  # bytes of a header; the largest vocabularies take a tenth of it
ALIGNMENT = 32  # bytes, where the file names no other
DIMENSIONS = 4  # of a tensor, at most
STRING, ARRAY = 8, 9
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value: TypeAlias = "int | float | str | tuple[int | float | str, ...]"


class UnreadableGguf(Exception):
    """What is wrong with a file, in a sentence that goes on after its name."""


@dataclass(frozen=True)
class Tensor:
    """shape: rows first, as in torch; kind: ggml's number of its type; end: bytes from the start of all tensors."""

    name: str
    shape: tuple[int, ...]
    kind: int
    end: int


@dataclass(frozen=True)
class Header:
    """The metadata by key, and the tensors in the order of the file."""

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    @property
    def parameters(self) -> int:
        """Numbers in all tensors, those of tied embeddings once."""
        return sum(prod(tensor.shape) for tensor in self.tensors)

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads; None where the file does not say."""
        found = self.metadata.get(f"{self.architecture}.context_length")
        return found if isinstance(found, int) else None

    def text(self, key: str) -> str:
        """A value that is text, or "" where there is none."""
        found = self.metadata.get(key)
        return found if isinstance(found, str) else ""


def header_of(*parts: str) -> Header:
    """The header of a GGUF file, or of one that lies in several parts (see parts.py). Raises UnreadableGguf, also for a
    file that is shorter than its table of tensors says, and OSError."""
    size = size_of_parts(parts)
    with opened(parts) as file:
        return _read(_Cursor(file, size))


class _Cursor:
    """A file that is read once, from its start, and never beyond its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at = file, size, 0

    def take(self, count: int) -> bytes:
        if self.at + count > self.size:
            raise UnreadableGguf(f"it is cut off: its header goes on beyond its {self.size:,} bytes")
        if self.at + count > MOST:
            raise UnreadableGguf(f"its header takes more than {MOST:,} bytes, which no model's does")
        self.at += count
        return self.file.read(count)

    def number(self, code: str, count: int = 1) -> tuple[int | float, ...]:
        width = struct.calcsize(f"<{code}")
        return struct.unpack(f"<{count}{code}", self.take(count * width))

    def count(self, code: str = "Q") -> int:
        return int(self.number(code)[0])

    def string(self) -> str:
        found = self.take(self.count())
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise UnreadableGguf(f"a text of its header is not UTF-8 ({found[:20]!r})") from None

    def value(self, kind: int) -> Value:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])[0]
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise UnreadableGguf(f"its header holds a value of type {kind}, which GGUF does not have")
        inner, count = self.count("I"), self.count()
        if inner in NUMBERS:
            return self.number(NUMBERS[inner], count)
        if inner != STRING:
            raise UnreadableGguf(f"its header holds an array of type {inner}; numbers and texts are read")
        return tuple(self.string() for _ in range(count))


def _read(file: _Cursor) -> Header:
    if file.size < len(MAGIC) or file.take(len(MAGIC)) != MAGIC:
        raise UnreadableGguf("it is no GGUF file: it does not begin with GGUF")
    if (version := file.count("I")) not in VERSIONS:
        raise UnreadableGguf(f"it is of version {version} of GGUF; little-endian files of version 2 and 3 are read")
    tensors, values = file.count(), file.count()
    metadata: dict[str, Value] = {}
    for _ in range(values):
        key = file.string()
        if key in metadata:
            raise UnreadableGguf(f"its header has {key!r} twice")
        metadata[key] = file.value(file.count("I"))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise UnreadableGguf(f"its general.alignment is {alignment!r}; a power of two is expected")
    table: dict[str, Tensor] = {}
    for _ in range(tensors):
        tensor = _tensor(file)
        if tensor.name in table:
            raise UnreadableGguf(f"it has the tensor {tensor.name!r} twice")
        table[tensor.name] = tensor
    start = -(-file.at // alignment) * alignment
    needed = start + max((tensor.end for tensor in table.values()), default=0)
    if needed > file.size:
        raise UnreadableGguf(f"it is cut off: it has {file.size:,} bytes of {needed:,}; fetch it again")
    header = Header(metadata, tuple(table.values()))
    if not header.architecture:
        raise UnreadableGguf("its header does not say of which architecture it is (general.architecture)")
    return header


def _tensor(file: _Cursor) -> Tensor:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    name, dimensions = file.string(), file.count("I")
    if not 1 <= dimensions <= DIMENSIONS:
        raise UnreadableGguf(f"its tensor {name!r} has {dimensions} dimensions; 1 to {DIMENSIONS} are expected")
    shape = tuple(int(size) for size in reversed(file.number("Q", dimensions)))
    kind, offset = file.count("I"), file.count()
    try:
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise UnreadableGguf(f"its tensor {name!r} is of type {kind}, which GGUF does not have") from None
    if not all(shape) or shape[-1] % block:
        raise UnreadableGguf(f"its tensor {name!r} is {list(shape)}, which is no whole number of {block} weights a row")
    return Tensor(name, shape, kind, offset + prod(shape) // block * width)
