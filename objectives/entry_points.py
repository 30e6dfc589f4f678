"""What stands in a registry: our own pieces, found in a folder of ours, and those of other packages by entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")
LOSS_GROUP, GATE_GROUP = "gatebench.losses", "gatebench.gates"  # groups of entry points
JUDGE_GROUP, EXECUTOR_GROUP = "gatebench.judges", "gatebench.executors"


def with_third_parties(group: str, own: Mapping[str, T]) -> dict[str, T]:
    """Our own names and those of the entry points of `group`; ValueError when one takes a name that is there."""
    found = dict(own)
    for entry in entry_points(group=group):
        if entry.name in found:
            raise ValueError(f"entry point {entry.value} of {group} takes the name {entry.name!r}")
        found[entry.name] = entry.load()
    return found


def in_folder(package: ModuleType, attribute: str, kind: type[T]) -> Iterator[T]:
    """`attribute` of every module of a package that has it: a new file there is all that it takes.

    Raises TypeError where it is of another kind.
    """
    for found in iter_modules(package.__path__):
        value = getattr(import_module(f"{package.__name__}.{found.name}"), attribute, None)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{package.__name__}.{found.name}.{attribute} is no {kind.__name__}")
        if value is not None:
            yield value
