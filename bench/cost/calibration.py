"""A few steps of every stage on this machine, timed and kept in the store, to foretell what a suite will take."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench import keys
from gatebench.bench.console import PLAIN
from gatebench.bench.cost.amounts import works_of
from gatebench.bench.cost.workers import machine_of, workers_of
from gatebench.bench.data.hub import is_cached
from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Executor, Resources
from gatebench.bench.executors.loop import execute
from gatebench.bench.executors.progress import Progress
from gatebench.bench.executors.registry import make_executor
from gatebench.bench.machine import Machine
from gatebench.bench.plan.graph import Node, Plan, identity
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.store.files import write_json
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

CALIBRATION_FOLDER = ".calibration"
STARTUP = "startup"
# Steps. The first set pays for imports: what it takes more than the second is the startup. Two sizes tell what a stage
# takes once from what it takes a step, so that a long one is not foretold from a short one's loading; larger ones tell
# it better, as far as suite and time allow. Trainings beyond the first are timed at the last two sizes.
STEPS_TIMED = (1, 1, 3, 9, 25)
FEWEST_SETS = 3
MOST_TIMED = 0.25  # of the plan's own steps that may be timed in advance
# seconds that may pass until another training is timed and until the foreseen end of a set beyond the fewest; thrice as
# many for those, without which little is known
LONGEST = 120.0
OFFLINE = "HF_HUB_OFFLINE"


@dataclass(frozen=True)
class Record:
    """One timed stage; under the group STARTUP, what a fresh process takes once."""

    group: str
    units: float
    seconds: float
    tokens: int = 0
    peak_memory: int = 0


def records(store: Store, machine: Machine) -> list[Record]:
    """What has been timed on a machine like this one; nothing where it cannot be read any more."""
    return _read(store, machine) or []


def unreadable(store: Store, machine: Machine) -> list[str]:
    """A sentence where there are records that cannot be read; the next run writes its own in their place."""
    if _read(store, machine) is not None:
        return []
    return [f"{_file(store, machine)} cannot be read, so what was timed here before does not count"]


def _read(store: Store, machine: Machine) -> list[Record] | None:
    """None where there are records and they cannot be read."""
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(list[Record]).validate_json(_file(store, machine).read_bytes(), strict=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError):  # pydantic's is a ValueError
        return None


def remember(found: Iterable[Record], store: Store, machine: Machine) -> None:
    """Keep records, newer ones in place of older ones of the same work."""
    kept = {(record.group, record.units): record for record in [*records(store, machine), *found]}
    file = _file(store, machine)
    if file.is_dir():  # nothing of ours
        file.rename(file.with_suffix(f".{os.getpid()}.set_aside"))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, [asdict(record) for record in kept.values()])


def timed(plan: Plan, store: Store, keys_run: Iterable[str]) -> list[Record]:
    """Records of stages that were run on this machine just now."""
    found = []
    for key in keys_run:
        node = plan.nodes[key]
        work, manifest = works_of(plan)[key], store.manifest(node.kind, key)
        if work:
            tokens, memory = manifest.get("tokens") or 0, manifest["peak_memory"]
            found.append(Record(work.group, work.amount.timed, manifest["seconds"], tokens, memory))
    return found


def calibrate(plan: Plan, store: Store, err: Console) -> None:
    """Time short versions of the plan's stages, as many at once as a run would have; keeps the records.

    Each distinct training of the plan gives one chain of stages, which every worker runs with a seed of its own.
    Nothing is fetched, and no more is timed than MOST_TIMED of the steps that the plan has itself; what is left out is
    said. Raises UserError where a stage fails.
    """
    workers, threads, devices = workers_of(plan)
    chains, absent = _chains(plan)
    if absent:
        err.print(f"not timed, since it is not on this machine yet: {', '.join(absent)}", **PLAIN)
    sets = sets_for(steps_in(plan), len(chains), workers)
    if chains and not sets:
        err.print("nothing was timed: the suite itself takes little longer than timing it; run it", **PLAIN)
    if not chains or not sets:
        return
    place = store.root / CALIBRATION_FOLDER / f"work-{os.getpid()}"
    err.print(f"timing {' + '.join(map(str, sets))} steps of {len(chains)} trainings, {workers} at once", **PLAIN)
    with _offline():
        executor = make_executor(Resources(workers, threads, devices, place / "logs"))
    found: list[Record] = []
    began = time.monotonic()
    try:
        for number, chain in enumerate(chains):
            if number and time.monotonic() - began > LONGEST:
                err.print("timing has taken minutes already: what is left of it is left out", **PLAIN)
                break
            made: list[list[Record]] = []
            for turn in range(len(sets)) if number == 0 else (len(sets) - 2, len(sets) - 1):
                spent = time.monotonic() - began
                if number == 0 and turn >= FEWEST_SETS and spent * sets[turn] / sum(sets[:turn]) > LONGEST - spent:
                    sets = sets[:turn]
                    break
                if number == 0 and made and spent > 3 * LONGEST:
                    break
                at_once = max(1, workers // max(node.devices for node in chain))
                copies = range(turn * at_once, (turn + 1) * at_once)
                made.append(
                    _time(_short(chain, sets[turn], copies), Store(place / str(number)), executor, workers, err)
                )
            if number == 0 and len(made) > 1:
                again = {record.group for record in made[1]}
                first, second = (sum(r.seconds for r in records if r.group in again) for records in made[:2])
                found.append(Record(STARTUP, 0, max(0.0, first - second) / workers))
                made[0] = [record for record in made[0] if record.group not in again]
            found += [record for records in made for record in records]
    finally:
        executor.close()
        shutil.rmtree(place, ignore_errors=True)
    remember(found, store, machine_of(plan))


def _time(short: Plan, scratch: Store, executor: Executor, workers: int, err: Console) -> list[Record]:
    with Progress(short, scratch, workers, err, scratch.root.parent / "log.jsonl") as progress:
        outcome = execute(short, scratch, executor, progress)
    for failure in outcome.failed.values():
        raise UserError(f"{failure.kind} could not be timed: {failure.message}")
    return timed(short, scratch, outcome.ran)


def steps_in(plan: Plan) -> int:
    """Optimizer steps of all preference trainings of a plan."""
    found = 0
    for key, node in plan.nodes.items():
        work = works_of(plan)[key] if node.kind == "train" else None
        found += round(work.amount.units / node.spec.recipe.batch_size) if work else 0
    return found


def sets_for(steps: int, chains: int, workers: int) -> tuple[int, ...]:
    """As many of STEPS_TIMED as together are no more than MOST_TIMED of so many steps; none where not even FEWEST_SETS
    are."""
    for count in range(len(STEPS_TIMED), FEWEST_SETS - 1, -1):
        sets = STEPS_TIMED[:count]
        if workers * (sum(sets) + (chains - 1) * sum(sets[-2:])) <= MOST_TIMED * steps:
            return sets
    return ()


@contextmanager
def _offline() -> Iterator[None]:
    """What is started here fetches nothing from the hub."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE]
        else:
            os.environ[OFFLINE] = before


def _chains(plan: Plan) -> tuple[list[list[Node]], list[str]]:
    """One cell's stages for each distinct group of trainings, as far as they have a short form; and the models and data
    sets of groups that are on the hub alone."""
    seen, chains, absent = set[str](), list[list[Node]](), dict[str, None]()
    for cell in plan.cells:
        node = plan.nodes[cell.stages["train"]]
        work = works_of(plan)[node.key]
        if work and work.group not in seen:
            seen.add(work.group)
            elsewhere = [
                source.path for kind, source in (("model", work.model), ("dataset", node.spec.data))
                if source.is_on_hub and not is_cached(kind, source.path)
            ]  # fmt: skip
            absent |= dict.fromkeys(elsewhere)
            if not elsewhere:
                chains.append([node for node in plan.needed_by(cell) if stage_of(node.kind).shorten])
    return chains, list(absent)


def _short(chain: list[Node], steps: int, copies: Iterable[int]) -> Plan:
    """The stages cut to a few steps, once for every copy, each with a seed of its own."""
    nodes: dict[str, Node] = {}
    for copy in copies:
        renamed: dict[str, str] = {}
        for node in chain:
            shorten = stage_of(node.kind).shorten
            if shorten is None:
                continue
            inputs = tuple((role, kind, renamed[key]) for role, kind, key in node.inputs)
            spec = shorten(node.spec, steps, copy)
            key = keys.digest_of_json(identity(node.kind, spec, inputs))
            nodes[key] = Node(node.kind, spec, inputs, key)
            renamed[node.key] = key
    return Plan("calibration", (), nodes)


def _file(store: Store, machine: Machine) -> Path:
    return store.root / CALIBRATION_FOLDER / f"{keys.digest(machine.name)[:12]}.json"
