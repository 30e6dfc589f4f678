"""What a suite will take on this machine: tokens, operations, memory, disk and hours, a cell and in all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from gatebench.bench.cost.amounts import StageWork, model_of, works_of
from gatebench.bench.cost.calibration import STARTUP, Record
from gatebench.bench.cost.hardware import Hardware
from gatebench.bench.cost.schedule import StageSchedule, best_order, schedule_of
from gatebench.bench.cost.workers import foreseen_memory
from gatebench.bench.executors.clock import StageLengths
from gatebench.bench.machine import Machine
from gatebench.bench.models.dimensions import FILES, NAME, dimensions_of
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.stage import FORWARD


@dataclass(frozen=True)
class Cost:
    """What stages take. seconds: of one worker, None where nothing like them was timed on this machine;
    memory: the largest of one stage, in bytes; measured: whether tokens and memory are, rather than upper bounds."""

    seconds: float | None
    tokens: float
    flops: float
    memory: float
    disk: float
    measured: bool

    def divided(self, by: int) -> Cost:
        """One share of a cost that several have in common; memory is needed whole."""
        seconds = None if self.seconds is None else self.seconds / by
        return replace(self, seconds=seconds, tokens=self.tokens / by, flops=self.flops / by, disk=self.disk / by)


@dataclass(frozen=True)
class SuiteCost:
    """by_kind, in_all: of the stages that would run; cells: of all that a cell rests on, what is shared divided
    among those that share it; schedule: with all workers, None where seconds are unknown."""

    by_kind: Mapping[str, Cost]
    cells: Mapping[str, Cost]
    in_all: Cost
    schedule: StageSchedule | None

    @property
    def wall(self) -> float | None:
        """Seconds until the end with all workers, None where unknown."""
        return None if self.schedule is None else self.schedule.wall


class Rates:
    """Timed stages -> seconds, tokens and memory of stages of their group."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.by_group: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self.by_group[record.group].append(record)

    @property
    def startup(self) -> float:
        return max((record.seconds for record in self.by_group.get(STARTUP, ())), default=0.0)

    def seconds(self, work: StageWork) -> float | None:
        """A constant and a rate fitted to the group, every stage weighing alike in relative error."""
        own = self.by_group.get(work.group)
        if not own:
            return None
        units, seconds = (np.array([getattr(r, name) for r in own], dtype=float) for name in ("units", "seconds"))
        near = np.isclose(units, work.amount.timed, rtol=0.1)
        if near.any():
            return float(seconds[near].mean())
        if len(set(units)) > 1:
            rate, constant = np.polyfit(units, seconds, 1, w=1 / seconds)
            if rate > 0:
                return float(max(constant, 0.0) + rate * work.amount.timed)
        longest = own[int(units.argmax())]
        return longest.seconds * work.amount.timed / longest.units if longest.units else longest.seconds

    def tokens_a_unit(self, work: StageWork) -> float | None:
        own = [record for record in self.by_group.get(work.group, ()) if record.units]
        return sum(r.tokens for r in own) / sum(r.units for r in own) if own else None

    def memory(self, work: StageWork) -> float | None:
        return max((record.peak_memory for record in self.by_group.get(work.group, ())), default=None)


def estimate_cost(
    plan: Plan,
    finished: AbstractSet[str],
    records: Sequence[Record],
    machine: Machine,
    hardware: Hardware | None = None,
) -> SuiteCost:
    """The cost of what is left of a plan, from what was timed on the machine where that is known, or on hardware that
    is not here."""
    rates = Rates(records)
    costs = _costs(plan, rates, hardware)
    left = [key for key in plan.nodes if key not in finished]
    seconds = _seconds(costs, left)
    startup = 0.0 if hardware else rates.startup
    by_kind: dict[str, list[Cost]] = defaultdict(list)
    for key in left:
        by_kind[plan.nodes[key].kind].append(costs[key])
    rests = {cell.id: plan.keys_of(cell) for cell in plan.cells}
    shared = Counter(key for keys in rests.values() for key in keys)
    return SuiteCost(
        {kind: _sum(found) for kind, found in by_kind.items()},
        {cell: _sum([costs[key].divided(shared[key]) for key in keys]) for cell, keys in rests.items()},
        _sum([costs[key] for key in left]),
        None if seconds is None else schedule_of(plan, seconds, machine.workers, startup),
    )


def lengths_of(plan: Plan, finished: AbstractSet[str], records: Sequence[Record]) -> StageLengths:
    """How long each stage is that is left: by what was timed on the machine where that is known of all, else by
    operations."""
    costs = _costs(plan, Rates(records), None)
    left = [key for key in plan.nodes if key not in finished]
    seconds = _seconds(costs, left)
    return (
        StageLengths({key: costs[key].flops for key in left}, False) if seconds is None else StageLengths(seconds, True)
    )


def order_to_start(plan: Plan, lengths: StageLengths, workers: int) -> Sequence[str]:
    """The keys of a plan in the order in which a run starts them."""
    return best_order(plan, lengths.of, workers)[0].order


def size_cautions(plan: Plan) -> list[str]:
    """Sentences where nothing but a name tells the size of a model, or not even that."""
    found = {model.path: dimensions_of(model) for node in plan.nodes.values() if (model := model_of(node, plan.nodes))}
    guessed = sorted(path for path, size in found.items() if size and size.known_by == NAME)
    unknown = sorted(path for path, size in found.items() if size is None)
    told = []
    if guessed:
        told.append(
            f"guessed from its name, so hours, memory and disk may be far off: the size of {', '.join(guessed)}"
        )
    if unknown:
        told.append(f"not in the estimates, since nothing here tells its size: {', '.join(unknown)}")
    return told


def cost_cautions(found: SuiteCost, machine: Machine, free: int) -> list[str]:
    """Sentences where the suite does not fit: memory of the workers at once, and free bytes of the results' disk."""
    at_once = 1 if machine.gpus else machine.workers
    memory, sentences = found.in_all.memory * at_once, []
    if machine.memory and memory > machine.memory:
        what = "the GPU" if machine.gpus else "one worker" if at_once == 1 else f"{machine.workers} workers"
        sentences.append(
            f"{what} would need about {memory / 1e9:.1f} GB of memory and there are {machine.memory / 1e9:.1f}: "
            "lower micro_batch_size or max_length, set gradient_checkpointing, or give --workers"
        )
    if found.in_all.disk > free:
        sentences.append(
            f"the results would take about {found.in_all.disk / 1e9:.1f} GB of disk and {free / 1e9:.1f} are free: "
            "set train.keep: none where no answers are wanted, or give --results another disk"
        )
    return sentences


def _costs(plan: Plan, rates: Rates, hardware: Hardware | None) -> dict[str, Cost]:
    works = works_of(plan)
    known = {work: _cost(work, rates, hardware) for work in set(works.values())}
    return {key: known[work] for key, work in works.items()}


def _seconds(costs: Mapping[str, Cost], left: Sequence[str]) -> dict[str, float] | None:
    """Of the stages that are left; None where those of one are not known."""
    known = {key: seconds for key in left if (seconds := costs[key].seconds) is not None}
    return known if len(known) == len(left) else None


def _cost(work: StageWork | None, rates: Rates, hardware: Hardware | None) -> Cost:
    if work is None:
        return Cost(None, 0, 0, 0, 0, False)
    amount, n = work.amount, work.size.parameters if work.size else 0
    per_unit = rates.tokens_a_unit(work)
    tokens = amount.units * amount.unit_tokens if per_unit is None else amount.timed * per_unit
    read = amount.read * amount.unit_tokens / 2
    computed, measured = n * tokens * amount.flops_a_token, n * read * FORWARD
    if hardware:
        seconds, memory = hardware.seconds(work, computed, measured), hardware.memory(work)
    else:
        seconds = rates.seconds(work) if amount.units else 0.0
        memory = rates.memory(work) or foreseen_memory(work)
    is_measured = per_unit is not None or not amount.units
    return Cost(seconds, tokens + read, computed + measured, memory, written(work),
                is_measured and not (work.size and work.size.known_by == NAME))  # fmt: skip


def written(work: StageWork) -> float:
    """Bytes of the models that a stage saves: adapters alone, where it trains one."""
    amount, size, adapter = work.amount, work.size, work.model.adapter
    if size is None or (not amount.units and size.known_by == FILES):  # which are linked
        return 0.0
    saved = size.adapter_parameters(adapter.r) if adapter and amount.saves_adapter else size.parameters
    return amount.saved * saved * amount.written


def _sum(costs: Sequence[Cost]) -> Cost:
    seconds = [cost.seconds for cost in costs]
    return Cost(
        None if None in seconds else sum(s for s in seconds if s is not None),
        sum(cost.tokens for cost in costs), sum(cost.flops for cost in costs),
        max((cost.memory for cost in costs), default=0), sum(cost.disk for cost in costs),
        all(cost.measured for cost in costs),
    )  # fmt: skip
