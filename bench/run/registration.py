"""The claims of a suite as they stood before there was a result: written down once, when a run first meets them.

    results/claims/<suite>.jsonl    a line a claim and run: time, digest, run, seen, claim

A claim whose cells had a result by then was made after the fact, whatever it says now, and every result says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gatebench.bench import keys
from gatebench.bench.analysis.claims import taking_part
from gatebench.bench.analysis.summary import Summary, run_id
from gatebench.bench.metrics import registry
from gatebench.bench.plan.graph import Plan, point_of
from gatebench.bench.store.files import append_json
from gatebench.bench.store.manifest import Unsound
from gatebench.bench.store.runs import share_lines
from gatebench.bench.store.store import Store
from gatebench.bench.suite.claims import Claim

REGISTER = "claims"  # a folder of results


@dataclass(frozen=True)
class Registered:
    """A claim as a run met it. time: seconds since 1970; seen: how many of its cells had a result before any run met
    it."""

    time: float
    digest: str
    run: str
    seen: int
    claim: Mapping[str, object]


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
        Registered(time.time(), digest, run_id(plan), _seen(claim, plan, store, known), claim.model_dump(mode="json"))
        for claim in plan.claims if ((digest := claim_digest(claim)), run_id(plan)) not in met
    ]  # fmt: skip
    if new:
        file.parent.mkdir(parents=True, exist_ok=True)
    for line in new:
        append_json(file, asdict(line))
    share_lines(file)


def with_registered(summary: Summary, plan: Plan, store: Store, results: Path) -> Summary:
    """The summary with what is known of the making of its claims, and a note for each that stood when a run of these
    cells met it and does not any more."""
    file = _file(results, plan.suite)
    share_lines(file)
    known = list(_read(file))
    own = {line.digest: line for line in reversed(known) if line.run == summary.run_id}
    judged = []
    for result, claim in zip(summary.claims, plan.claims, strict=True):
        digest = claim_digest(claim)
        seen = own[digest].seen if digest in own else _seen(claim, plan, store, known)
        judged.append(replace(result, registered=_met(digest, known), digest=digest, seen=seen))
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
    wanted = {(point_of(axes), axes["seed"]) for axes in taking_part(claim, [cell.axes() for cell in plan.cells])}
    own = [cell.stages[kind] for cell in plan.cells if (point_of(cell.axes()), cell.seed) in wanted]
    return sum(_made(store, kind, key) < since for key in own)


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
                             {"name": "", **found["claim"]})  # fmt: skip
        except (ValueError, KeyError, TypeError, RecursionError):
            continue


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
