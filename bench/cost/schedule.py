"""What becomes of a plan with so many workers: a discrete simulation by the turns that the real loop takes. Pure.

Workers are alike, a stage takes one of them from its start to its end, or as many as it has devices, and those that are
free take the next stage at once: list scheduling (Graham 1966). No order is faster than the longest chain of stages,
nor than all work divided evenly.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatebench.bench.executors.turns import StageTurns
from gatebench.bench.plan.graph import Plan

Needs = Mapping[str, Sequence[str]]  # the keys that each key rests on, which stand before it
Takes = Mapping[str, float]  # what a stage takes, by key, in any unit; a finished one is missing and takes nothing

ONE_EACH: Mapping[str, int] = {}
# Share of the time in the suite's order that another one must stay below, to be worth that no cell is finished early.
WORTH = 0.99


@dataclass(frozen=True)
class CriticalStage:
    """A stage of the critical path. start, seconds: when it is started, and what it takes."""

    key: str
    start: float
    seconds: float


@dataclass(frozen=True)
class StageSchedule:
    """What is left of a plan, in seconds. wall: until the end, in the order that a run starts the stages;
    suite_order: in that of the suite; work: of all stages, by each worker that they take; startup: before
    the first; critical: the longest chain of stages, each waiting for the one before it."""

    workers: int
    wall: float
    suite_order: float
    work: float
    startup: float
    critical: tuple[CriticalStage, ...]

    @property
    def chain(self) -> float:
        """Seconds of the critical path."""
        return sum(step.seconds for step in self.critical)

    @property
    def bound(self) -> float:
        """Seconds that no order is faster than."""
        return self.startup + max(self.chain, self.work / self.workers)

    @property
    def employable(self) -> int:
        """How many workers at most can all be kept busy to the end."""
        return max(1, int(self.work / self.chain)) if self.chain else 1

    def utilisation(self, wall: float) -> float:
        """The share of the workers' time that stages take, if all ends after `wall` seconds."""
        return self.work / (self.workers * wall) if wall else 1.0


@dataclass(frozen=True)
class Simulated:
    """Stages started by turns in an order. starts: when each is; wall: the end of the last."""

    order: Sequence[str]
    starts: Takes
    wall: float


def schedule_of(plan: Plan, seconds: Takes, workers: int, startup: float = 0.0) -> StageSchedule:
    """seconds: of the stages that are left; startup: seconds before the first of them."""
    begin = startup if seconds else 0.0
    chosen, by_suite = best_order(plan, seconds, workers)
    path = [key for key in critical_path(plan.inputs, seconds) if seconds.get(key)]
    steps = tuple(CriticalStage(key, begin + chosen.starts[key], seconds[key]) for key in path)
    work = sum(taken * min(plan.nodes[key].devices, workers) for key, taken in seconds.items())
    return StageSchedule(workers, begin + chosen.wall, begin + by_suite.wall, work, begin, steps)


def best_order(plan: Plan, takes: Takes, workers: int) -> tuple[Simulated, Simulated]:
    """(as a run starts the stages, in the order of the suite).

    A run keeps the suite's order, which has its first cells finished early, unless the longest cells first are faster
    by more than 1 - WORTH.
    """
    inputs, places = plan.inputs, {key: node.devices for key, node in plan.nodes.items() if node.devices > 1}
    by_suite = simulate(inputs, takes, list(plan.nodes), workers, places)
    longest = simulate(inputs, takes, longest_first(plan, takes), workers, places)
    return longest if longest.wall < WORTH * by_suite.wall else by_suite, by_suite


def simulate(
    inputs: Needs, takes: Takes, order: Sequence[str], workers: int, places: Mapping[str, int] = ONE_EACH
) -> Simulated:
    """What becomes of the stages; what takes nothing needs no worker. places: how many workers a stage takes, where
    that is more than one: it waits for them, and nothing passes it."""
    turns, starts, now = StageTurns(inputs, order), dict[str, float](), 0.0
    running: list[tuple[float, int, str]] = []  # (its end, how many were started before, key)
    free, waiting = workers, None
    while not turns.over:
        while free and (key := waiting or turns.next()) is not None:
            taken, own = takes.get(key), min(places.get(key, 1), workers)
            waiting = key if taken and own > free else None
            if waiting:
                break
            starts[key] = now
            if taken:
                free -= own
                heapq.heappush(running, (now + taken, len(starts), key))
            else:
                turns.done(key)
        if running:
            now, _, key = heapq.heappop(running)
            free += min(places.get(key, 1), workers)
            turns.done(key)
    return Simulated(order, starts, now)


def longest_first(plan: Plan, takes: Takes) -> list[str]:
    """Every key of a plan, those of the cell with the longest chain of stages first; equal ones in the suite's order.

    By cells and not by stages, since all trainings take longer than what measures them: they would all be done before
    any cell is finished.
    """
    ends = _ends(plan.inputs, takes)
    rests = {cell.id: plan.keys_of(cell) for cell in plan.cells}
    cells = sorted(rests, key=lambda cell: -max(ends[key] for key in rests[cell]))
    place = {key: number for number, cell in reversed([*enumerate(cells)]) for key in rests[cell]}
    return sorted(plan.nodes, key=lambda key: place.get(key, len(cells)))


def critical_path(inputs: Needs, takes: Takes) -> list[str]:
    """The longest chain of stages, first to last."""
    ends = _ends(inputs, takes)
    path, found = list[str](), max(ends, key=ends.__getitem__, default=None)
    while found is not None:
        path.append(found)
        found = max(inputs[found], key=ends.__getitem__, default=None)
    return path[::-1]


def _ends(inputs: Needs, takes: Takes) -> dict[str, float]:
    """When each stage would end, were there a worker for each."""
    ends = dict[str, float]()
    for key, needed in inputs.items():
        ends[key] = takes.get(key, 0.0) + max((ends[other] for other in needed), default=0.0)
    return ends
