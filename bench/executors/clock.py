"""How long the rest of a run will take: from what its finished stages took, and of the others their foreseen lengths.
Pure: the time is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import mean

from gatebench.bench.console import duration
from gatebench.bench.executors.api import Event, Finished, Progressed, Started
from gatebench.bench.plan.graph import Node, Plan

PACE_KNOWN = 0.03  # of a stage, over which its own pace is told; before it is loading, which goes at another
PACE_TRUSTED = 0.25  # from this share on it is a better witness than others of its kind
UNSURE = 1.5  # factor either way by which a length that was timed in an earlier run may be off in this one
ALIKE = 1.2  # ratio of two bounds that are told as one figure


@dataclass(frozen=True)
class Left:
    """Seconds. most: None where something that is left is of a kind that nothing tells of yet."""

    least: float
    most: float | None

    def times(self, factor: float) -> Left:
        return Left(self.least * factor, None if self.most is None else self.most * factor)

    def plus(self, other: Left) -> Left:
        most = None if self.most is None or other.most is None else self.most + other.most
        return Left(self.least + other.least, most)

    def longer(self, other: Left) -> Left:
        """Until both are over."""
        most = None if self.most is None or other.most is None else max(self.most, other.most)
        return Left(max(self.least, other.least), most)


NOTHING, UNKNOWN = Left(0.0, 0.0), Left(0.0, None)


@dataclass(frozen=True)
class StageLengths:
    """How long each stage is beside others, by key: in seconds, of what was timed on this machine before, else in
    operations."""

    of: Mapping[str, float]
    in_seconds: bool


class Clock:
    """Remaining seconds of a plan. finished: the keys of what is there before it starts; lengths: where foreseen.

    A finished stage speaks for those of its kind and model. For its kind on another model it speaks through their
    lengths: of seconds by the ratio of what came to what was foreseen, of operations by a pace, which is one end of a
    range whose other is that small stages all take alike.
    """

    def __init__(
        self, plan: Plan, finished: Collection[str], workers: int, lengths: StageLengths | None = None
    ) -> None:
        self.plan, self.workers, self.lengths = plan, workers, lengths or StageLengths({}, False)
        self.models = {key: cell.model for cell in reversed(plan.cells) for key in cell.stages.values()}
        self.waiting = {key: node for key, node in plan.nodes.items() if key not in finished}
        self.shares: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self._first: dict[str, tuple[float, float]] = {}  # (time, share) of the first progress of a stage
        self._last: dict[str, tuple[float, float]] = {}
        self._took: dict[str, dict[str, float]] = {}  # seconds of finished stages, by kind and key

    def note(self, event: Event, now: float) -> None:
        key = event.node.key
        if isinstance(event, Started):
            self.started[key] = now
        elif isinstance(event, Progressed):
            self.shares[key] = event.share
            self._first.setdefault(key, (now, event.share))
            self._last[key] = (now, event.share)
        else:
            if isinstance(event, Finished):
                self._took.setdefault(event.node.kind, {})[key] = now - self.started[key]
            self.waiting.pop(key, None)

    def remaining(self, now: float) -> Left | None:
        """Until the end: all work over the workers, or the longest chain of stages; None before anything is known."""
        work, chain, ends = NOTHING, NOTHING, dict[str, Left]()
        for key, node in self.waiting.items():
            own = self._left_of(node, now)
            before = NOTHING
            for _, _, needed in node.inputs:
                before = before.longer(ends.get(needed, NOTHING))
            ends[key] = before.plus(own)
            work, chain = work.plus(own.times(min(node.devices, self.workers))), chain.longer(ends[key])
        if self.waiting and work == UNKNOWN:
            return None
        return work.times(1 / self.workers).longer(chain)

    def _left_of(self, node: Node, now: float) -> Left:
        """Of one stage that is not finished."""
        since = now - self.started.get(node.key, now)
        pace, whole = self._by_own_pace(node.key, now), self._of_alike(node) or self._by_length(node)
        if whole is None:
            return pace or UNKNOWN
        late = whole.most is not None and since > whole.most
        if pace is not None and (late or self.shares[node.key] >= PACE_TRUSTED):
            return pace
        return Left(max(whole.least - since, 0.0), None if whole.most is None else max(whole.most - since, 0.0))

    def _by_own_pace(self, key: str, now: float) -> Left | None:
        """From its first word on, so that neither loading nor what an earlier run did of it counts."""
        if key not in self._last:
            return None
        (began, at), (told, share) = self._first[key], self._last[key]
        if share - at <= PACE_KNOWN:
            return None
        left = max((told - began) / (share - at) * (1 - share) - (now - told), 0.0)
        return Left(left, left)

    def _group(self, node: Node) -> tuple[str, int, str]:
        """Stages that take about as long; dynamics at step 0 have fewer inputs than those of a trained policy."""
        return (node.kind, len(node.inputs), self.models.get(node.key, ""))

    def _of_alike(self, node: Node) -> Left | None:
        """By finished ones of its kind and model; where lengths are known, of about its length."""
        took = self._took.get(node.kind, {})
        own = [
            seconds for key, seconds in took.items()
            if self._group(self.plan.nodes[key]) == self._group(node) and self._as_long(key, node.key)
        ]  # fmt: skip
        return Left(mean(own), mean(own)) if own else None

    def _as_long(self, one: str, other: str) -> bool:
        mine, its = self.lengths.of.get(one), self.lengths.of.get(other)
        return mine is None or its is None or max(mine, its) <= ALIKE * min(mine, its)

    def _by_length(self, node: Node) -> Left | None:
        length, of = self.lengths.of.get(node.key), self.lengths.of
        took = {key: seconds for key, seconds in self._took.get(node.kind, {}).items() if of.get(key)}
        if not length:
            return None
        if took:
            by_pace = length * sum(took.values()) / sum(of[key] for key in took)
            like_others = by_pace if self.lengths.in_seconds else mean(took.values())
            return Left(min(by_pace, like_others), max(by_pace, like_others))
        return Left(length / UNSURE, length * UNSURE) if self.lengths.in_seconds else None


def in_words(left: Left | None) -> str:
    """What a user is told of the time left."""
    if left is None or (left.most is None and left.least < 1):
        return "time left: measuring"
    if left.most is None:
        return f"at least {duration(left.least)} left"
    if left.most <= ALIKE * left.least or duration(left.least) == duration(left.most):
        return f"about {duration((left.least + left.most) / 2)} left"
    return f"{duration(left.least)} to {duration(left.most)} left"
