"""A toy of each kind, as a newcomer would write it: each in one file, of which nothing knows until a test adds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


@contextmanager
def added(module: str) -> Iterator[ModuleType]:
    """A module of this folder, imported anew, with the metrics that it registers; afterwards they are gone again."""
    from gatebench.bench.metrics.metric import REGISTERED, SPLIT_PREFIXES

    before, name = (dict(REGISTERED), dict(SPLIT_PREFIXES)), f"{__name__}.{module}"
    sys.modules.pop(name, None)
    try:
        yield import_module(name)
    finally:
        sys.modules.pop(name, None)
        for register, kept in zip((REGISTERED, SPLIT_PREFIXES), before, strict=True):
            register.clear()
            register.update(kept)
