"""The claims of a suite as they stood before there was a result: written down once, when a run first meets them.

    results/claims/<suite>.jsonl    a line a claim and run: time, digest, run, seen, claim, cells

A claim whose cells had a result by then was made after the fact, whatever it says now, and every result says so. So was
the choice of a run that rests on results of an earlier one and leaves out others that could be seen by then: those
count as planned, so that leaving them out makes nothing significant. What was left out before it had a result does not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from gatebench.bench import keys
from gatebench.bench.analysis.claims import taking_part
from gatebench.bench.analysis.summary import Summary, run_id
from gatebench.bench.metrics import registry
from gatebench.bench.plan.graph import CELL_AXES, Axes, Cell, Plan, cell_name
from gatebench.bench.store.files import append_json
from gatebench.bench.store.manifest import Unsound
from gatebench.bench.store.runs import share_lines
from gatebench.bench.store.store import Store
from gatebench.bench.suite.claims import Claim

REGISTER = "claims"  # a folder of results


@dataclass(frozen=True)
class Registered:
    """A claim as a run met it. time: seconds since 1970; seen: how many of its cells had a result before any run met
    it; cells: those that it is about, each by CELL_AXES and the key of the stage that has its metric."""

    time: float
    digest: str
    run: str
    seen: int
    claim: Mapping[str, object]
    cells: Sequence[Sequence[str | int]] = ()

    @property
    def keys(self) -> dict[str, str]:
        """The keys of its cells by their names."""
        return {cell_name(axes): key for axes, key in self.axes_and_keys()}

    def axes_and_keys(self) -> Iterator[tuple[Axes, str]]:
        for *values, key in self.cells:
            yield cast("Axes", dict(zip(CELL_AXES, values, strict=True))), str(key)


def claim_digest(claim: Claim) -> str:
    """Equal for claims that say the same, whatever they are called."""
    later = {name for name in ("strata", "at_equal") if getattr(claim, name) is None}  # which move no older digest
    return keys.digest(claim.model_dump(exclude={"name", *later}))


def register_claims(plan: Plan, store: Store, results: Path) -> None:
    """Write down those claims of a plan that this run has not met."""
    file = _file(results, plan.suite)
    share_lines(file)
    known = list(_read(file))
    met = {(line.digest, line.run) for line in known}
    new = [
        Registered(time.time(), digest, run_id(plan), _seen(claim, plan, store, known), claim.model_dump(mode="json"),
                   [(*cell.place, key) for cell, key in _about(claim, plan)])
        for claim in plan.claims if ((digest := claim_digest(claim)), run_id(plan)) not in met
    ]  # fmt: skip
    if new:
        file.parent.mkdir(parents=True, exist_ok=True)
    for line in new:
        append_json(file, asdict(line))
    share_lines(file)


def dropped_cells(plan: Plan, store: Store, results: Path) -> list[list[Axes]]:
    """Of each claim of a plan the cells that it counts as planned though the plan leaves them out: an earlier run with
    some of the same results was about them, and they had one when this run first met the claim."""
    share_lines(_file(results, plan.suite))
    known = list(_read(_file(results, plan.suite)))
    return [_dropped(claim, plan, store, known) for claim in plan.claims]


def _dropped(claim: Claim, plan: Plan, store: Store, known: Sequence[Registered]) -> list[Axes]:
    digest, kind = claim_digest(claim), registry.get_metric(claim.metric).source.stage
    lines = [line for line in known if line.digest == digest]
    met = min((line.time for line in lines if line.run == run_id(plan)), default=time.time())
    own = {cell.id: key for cell, key in _about(claim, plan)}
    found: dict[str, Axes] = {}
    for line in lines:
        if line.time > met or not own.items() & line.keys.items():  # later, or of other trainings
            continue
        for axes, key in line.axes_and_keys():
            if cell_name(axes) not in own and _made(store, kind, key) < met:
                found[cell_name(axes)] = axes
    return list(found.values())


def _about(claim: Claim, plan: Plan) -> list[tuple[Cell, str]]:
    """The cells of a plan that a claim is about, each with the key of the stage that has its metric."""
    kind = registry.get_metric(claim.metric).source.stage
    wanted = {cell_name(axes) for axes in taking_part(claim, [cell.axes() for cell in plan.cells])}
    return [(cell, cell.stages[kind]) for cell in plan.cells if cell.id in wanted]


def with_registered(
    summary: Summary, plan: Plan, store: Store, results: Path, dropped: Sequence[Sequence[Axes]] = ()
) -> Summary:
    """The summary with what is known of the making of its claims, and a note for each that stood when a run of these
    cells met it and does not any more. dropped: `dropped_cells`, with which the claims were judged."""
    known = list(_read(_file(results, plan.suite)))  # which `dropped_cells` has shared
    own = {line.digest: line for line in reversed(known) if line.run == summary.run_id}
    judged = []
    for result, claim, gone in zip(summary.claims, plan.claims, dropped or [()] * len(plan.claims), strict=True):
        digest = claim_digest(claim)
        seen = own[digest].seen if digest in own else _seen(claim, plan, store, known)
        registered = _met(digest, known)
        judged.append(replace(result, registered=registered, digest=digest, seen=seen, narrowed=len(gone)))
    now = set(map(claim_digest, plan.claims))
    notes = [
        f"claim {str(line.claim['name'])!r} ({digest}), which stood in this suite when a run met it on "
        f"{_date(line.time)}, does not any more" for digest, line in own.items() if digest not in now
    ]  # fmt: skip
    return replace(summary, claims=tuple(judged), notes=(*summary.notes, *notes))


def _file(results: Path, suite: str) -> Path:
    return results / REGISTER / f"{suite}.jsonl"


def _met(digest: str, known: Iterable[Registered]) -> float | None:
    """When a run of the suite first met a claim."""
    return min((line.time for line in known if line.digest == digest), default=None)


def _seen(claim: Claim, plan: Plan, store: Store, known: Iterable[Registered]) -> int:
    """How many of the claim's cells had a result of its metric before any run met the claim."""
    since = _met(claim_digest(claim), known) or time.time()
    kind = registry.get_metric(claim.metric).source.stage
    return sum(_made(store, kind, key) < since for _, key in _about(claim, plan))


def _made(store: Store, kind: str, key: str) -> float:
    """When a stage was finished; never, for one that is not, and long ago for one that was damaged since."""
    if not store.is_finished(kind, key):
        return float("inf")
    try:
        manifest = store.manifest(kind, key)
    except Unsound:
        return float("-inf")
    return float("-inf") if manifest.get("remade") else manifest["finished"]


def _read(file: Path) -> Iterator[Registered]:
    """The lines that can be read; a claim whose line cannot be counts as never met."""
    if not file.is_file():
        return
    for line in file.read_bytes().splitlines():
        try:
            found = json.loads(line)
            yield Registered(float(found["time"]), str(found["digest"]), str(found["run"]), int(found["seen"]),
                             {"name": "", **found["claim"]}, _cells(found.get("cells", [])))  # fmt: skip
        except (ValueError, KeyError, TypeError, RecursionError):
            continue


def _cells(found: Sequence[Sequence[str | int]]) -> list[Sequence[str | int]]:
    """Those of a line, which has none where it was written before they were. Raises ValueError for what is no cell."""
    if any(len(values) != len(CELL_AXES) + 1 for values in found):
        raise ValueError("a cell has its axes and a key")
    return list(found)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
