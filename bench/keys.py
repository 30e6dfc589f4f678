"""The identity of a stage: canonical JSON of everything that matters -> sha256.

What changes the result is in the key (parameters, data content, code and library versions); what does not
(paths, names, the machine, the number of workers) is not: a dataclass field with metadata key=False stays
out. One with key="given" counts only where it is not its default, so that a new option moves no key of those
who do not use it. A value that has no canonical form is refused rather than guessed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeAlias

KEY_DIGITS = 24

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Memo = dict[int, tuple[object, Json]]  # id of a frozen dataclass -> (itself, kept alive; its canonical form)


def canonical(value: object, memo: Memo | None = None) -> Json:
    """A JSON value that is equal exactly when the two values mean the same.

    memo: remembers the forms of dataclasses, for many values that share parts. Raises TypeError for anything but
    None, bool, int, finite float, str, sequences, string-keyed mappings and frozen dataclasses of them.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} cannot be part of a key: only finite numbers can")
        return value
    if isinstance(value, list | tuple):
        return [canonical(item, memo) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a mapping in a key needs string keys")
        return {key: canonical(value[key], memo) for key in sorted(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if memo is not None and id(value) in memo:
            return memo[id(value)][1]
        left_out = _left_out(type(value))
        counted = [n for n in _counted(type(value)) if n not in left_out or getattr(value, n) != left_out[n]]
        found = {name: canonical(getattr(value, name), memo) for name in counted}
        if memo is not None:
            memo[id(value)] = value, found
        return found
    raise TypeError(
        f"{type(value).__name__} cannot be part of a key; pass its content (a number, text, list or dataclass)"
    )


@cache
def _counted(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.metadata.get("key", True))


@cache
def _left_out(kind: type) -> dict[str, object]:
    """The defaults of the fields that count only where they are given."""
    given = [own for own in dataclasses.fields(kind) if own.metadata.get("key") == "given"]
    return {
        own.name: own.default if own.default_factory is dataclasses.MISSING else own.default_factory() for own in given
    }


def digest(value: object) -> str:
    """The key of a value: the first 24 hex digits of the sha256 of its canonical JSON."""
    return digest_of_json(canonical(value))


def digest_of_json(value: Json) -> str:
    """The key of a value that is in canonical form already."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]
