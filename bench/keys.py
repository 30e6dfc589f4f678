"""The identity of a stage: canonical JSON of everything that matters -> sha256.

What changes the result is in the key (parameters, data content, code and library versions); what does not
(paths, names, the machine, the number of workers) is not: a dataclass field with metadata key=False stays
out. A value that has no canonical form is refused rather than guessed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

LENGTH = 24


def canonical(value: Any) -> Any:
    """A JSON value that is equal exactly when the two values mean the same.

    Raises TypeError for anything but None, bool, int, finite float, str, sequences, string-keyed mappings and
    frozen dataclasses of them.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} cannot be part of a key: only finite numbers can")
        return value
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a mapping in a key needs string keys")
        return {key: canonical(value[key]) for key in sorted(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        counted = [field for field in dataclasses.fields(value) if field.metadata.get("key", True)]
        return {field.name: canonical(getattr(value, field.name)) for field in counted}
    raise TypeError(
        f"{type(value).__name__} cannot be part of a key; pass its content (a number, text, list or dataclass)"
    )


def digest(value: Any) -> str:
    """The key of a value: the first 24 hex digits of the sha256 of its canonical JSON."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
