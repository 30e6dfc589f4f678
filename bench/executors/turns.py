"""Which stage is started next. The loop asks it, and so does the simulation of a plan, so that they cannot differ."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter


class StageTurns:
    """Stages by turns: of those whose inputs are done, the one that stands first in an order.

    inputs: keys that each key rests on, all of them keys themselves; order: every key once.
    """

    def __init__(self, inputs: Mapping[str, Iterable[str]], order: Iterable[str]) -> None:
        self._places = {key: place for place, key in enumerate(order)}
        self._sorter = TopologicalSorter(inputs)
        self._sorter.prepare()
        self._ready: list[tuple[int, str]] = []

    @property
    def over(self) -> bool:
        """Whether every stage is done."""
        return not self._sorter.is_active()

    def next(self) -> str | None:
        """The stage whose turn it is, given out once; None where all that are left wait for others."""
        self.later(self._sorter.get_ready())
        return heapq.heappop(self._ready)[1] if self._ready else None

    def later(self, keys: Iterable[str]) -> None:
        """Stages that have a turn again."""
        for key in keys:
            heapq.heappush(self._ready, (self._places[key], key))

    def done(self, key: str) -> None:
        self._sorter.done(key)
