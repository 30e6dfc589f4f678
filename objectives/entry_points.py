"""What other packages add to a registry of ours, by entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TypeVar

T = TypeVar("T")


def with_third_parties(group: str, own: Mapping[str, T]) -> dict[str, T]:
    """Our own names and those of the entry points of `group`; ValueError when one takes a name that is there."""
    found = dict(own)
    for entry in entry_points(group=group):
        if entry.name in found:
            raise ValueError(f"entry point {entry.value} of {group} takes the name {entry.name!r}")
        found[entry.name] = entry.load()
    return found
