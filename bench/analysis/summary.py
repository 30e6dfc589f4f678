"""`summary.json`, the machine-readable result of a run, read from the plan and the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gatebench.bench import keys
from gatebench.bench.analysis.aggregates import (
    GateAggregate,
    Group,
    ScaleSlope,
    TaskContrast,
    gate_aggregates,
    groups,
    groups_by_kind,
    metrics_of,
    scale_slopes,
    task_contrasts,
)
from gatebench.bench.analysis.claims import ClaimResult, judge, taking_part
from gatebench.bench.analysis.lead import Lead, leading_gate
from gatebench.bench.analysis.probe_arrays import Measured
from gatebench.bench.executors.api import Outcome
from gatebench.bench.metrics import registry
from gatebench.bench.metrics.dynamics import curves
from gatebench.bench.metrics.tasks import ValueWithError
from gatebench.bench.plan.graph import Axes, Cell, Node, Plan, Where, cell_name
from gatebench.bench.stages.dynamics import CURVES
from gatebench.bench.stages.probing import PROBES
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.stages.stage import CAUTIONS
from gatebench.bench.stages.train import TRAIN_CURVES
from gatebench.bench.store.files import write_json
from gatebench.bench.store.manifest import Unsound
from gatebench.bench.store.store import Store
from gatebench.bench.suite.claims import Claim
from gatebench.objectives.gates import UNGATED, Gate

if TYPE_CHECKING:
    import pandas

REMADE = "remade"  # a fact of the store's: earlier versions of a stage that were damaged


@dataclass(frozen=True)
class StageRecord:
    """One stage of a cell. seconds, tokens: of the run that made it, now or earlier."""

    key: str
    seconds: float | None = None
    tokens: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """metrics, each with `_lo` and `_hi` of its interval over probes, are missing, never 0, for a cell without a
    result; `reason` says why."""

    id: str
    model: str
    dataset: str
    objective: str
    loss: str
    warmup: str
    gate: str
    seed: int
    status: Literal["finished", "failed", "missing"]
    metrics: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, StageRecord] = field(default_factory=dict)
    reason: str | None = None
    log: str | None = None
    gated: bool = True

    def axes(self) -> Axes:
        return {
            "model": self.model, "dataset": self.dataset, "objective": self.objective, "loss": self.loss,
            "warmup": self.warmup, "gate": self.gate, "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True)
class Summary:
    suite: str
    run_id: str
    cells: tuple[CellResult, ...]
    claims: tuple[ClaimResult, ...] = ()
    groups: tuple[Group, ...] = ()
    gates: tuple[GateAggregate, ...] = ()
    scale: tuple[ScaleSlope, ...] = ()
    tuned_on: int = 0
    notes: tuple[str, ...] = ()
    varied: str = ""
    remedies: Mapping[str, Where] = field(default_factory=dict)
    kinds: tuple[Group, ...] = ()
    tasks: tuple[TaskContrast, ...] = ()
    lead: Lead | None = None

    @property
    def cautions(self) -> list[str]:
        """What makes the numbers less than they seem: notes on the whole, and what stages found out on their way, as
        gates that are shut on the data and models that vLLM does not serve."""
        records = [record for cell in self.finished for record in cell.stages.values()]
        found = [record.facts.get(CAUTIONS) for record in records]
        told = {str(sentence) for sentences in found if isinstance(sentences, list) for sentence in sentences}
        return [*self.notes, *sorted(told)]

    @property
    def remade(self) -> list[str]:
        """Stages that were made again because a file in the store was not what its manifest said."""
        records = ((kind, record) for cell in self.cells for kind, record in cell.stages.items())
        return sorted({f"{kind} {record.key}" for kind, record in records if REMADE in record.facts})

    @property
    def finished(self) -> list[CellResult]:
        return [cell for cell in self.cells if cell.status == "finished"]


def run_id(plan: Plan) -> str:
    """The identity of a run: what its cells are and which of the suite's it leaves out, not when it ran."""
    cells = {cell.id: dict(cell.stages) for cell in plan.cells}
    return keys.digest([cells, sorted(map(cell_name, plan.left_out))] if plan.left_out else cells)[:12]


def cell_result(cell: Cell, plan: Plan, store: Store) -> CellResult:
    """A cell whose stages are all finished, with its metrics."""
    found = _result(cell, plan, store, Outcome(), {}, {})
    return replace(found, metrics=metrics_of({cell.seed: measured(found, store, plan.tuned_on)}))


def summarize(
    plan: Plan,
    store: Store,
    outcome: Outcome | None = None,
    known: Mapping[str, CellResult] | None = None,
    dropped: Sequence[Sequence[Axes]] = (),
) -> Summary:
    """The results that the store holds for a plan; outcome adds what this run did and what failed.

    known: cells whose metrics were computed already, by id; dropped: of each claim the cells that it is judged as
    planned with, though this run leaves them out (run/registration.py). A cell that rests on a stage whose files are
    not what the store wrote has no result.
    """
    outcome, known = outcome or Outcome(), known or {}
    records: dict[str, StageRecord] = {}
    unsound = _unsound(plan, store)
    cells = [_result(cell, plan, store, outcome, records, unsound) for cell in plan.cells]
    own = {cell.id: measured(cell, store, plan.tuned_on) for cell in cells if cell.status == "finished"}
    metrics = {
        cell.id: known[cell.id].metrics if cell.id in known else metrics_of({cell.seed: own[cell.id]})
        for cell in cells if cell.id in own
    }  # fmt: skip
    cells = [replace(cell, metrics=metrics[cell.id]) if cell.id in metrics else cell for cell in cells]
    finished = list(own.values())
    planned = [cell.axes() for cell in plan.cells]
    verdicts = [
        replace(judge(claim, [*planned, *gone], finished, plan.remedies), left_out=_left_out(claim, plan))
        for claim, gone in zip(plan.claims, dropped or [()] * len(plan.claims), strict=True)
    ]
    return Summary(
        plan.suite, run_id(plan), tuple(cells), tuple(verdicts),
        tuple(groups(finished)), tuple(gate_aggregates(finished)), tuple(scale_slopes(finished)), plan.tuned_on,
        tuple(_notes(cells, plan)), plan.varied, plan.remedies, tuple(groups_by_kind(finished)),
        tuple(task_contrasts(finished)), leading_gate(main_metric(plan), finished, _gates(plan)),
    )  # fmt: skip


def main_metric(plan: Plan) -> str:
    """What a suite is about: the metric of its first claim; without one the first of every table."""
    return plan.claims[0].metric if plan.claims else registry.headline()[0]


def _gates(plan: Plan) -> dict[str, Gate]:
    return {cell.gate: plan.nodes[cell.stages["train"]].spec.gate for cell in plan.cells}


def _left_out(claim: Claim, plan: Plan) -> int:
    """How many of the cells that a claim is about a run was not asked to make."""
    if not plan.left_out:
        return 0
    own = {cell.id for cell in plan.cells}
    return sum(cell_name(axes) not in own for axes in taking_part(claim, plan.planned))


def _unsound(plan: Plan, store: Store) -> dict[str, str]:
    """What is wrong with those finished stages of a plan that are not what the store wrote, by key."""
    found = {}
    for key in store.finished_among(plan.addresses):
        try:
            store.check(plan.nodes[key].kind, key)
        except Unsound as error:
            found[key] = str(error)
    return found


def _notes(cells: Sequence[CellResult], plan: Plan) -> Iterator[str]:
    lacking = [cell for cell in cells if cell.status != "finished"]
    if lacking and len(lacking) < len(cells):
        yield (
            f"{len(lacking)} of {len(cells)} planned cells have no result, the first {lacking[0].id} "
            f"({lacking[0].reason}): means over seeds, gates over all points and slopes are of the others alone, and "
            "what failed is rarely like what did not"
        )
    if plan.left_out:
        yield f"{len(plan.left_out)} of {len(plan.planned)} cells of the suite were left out by --only"


def measured(cell: CellResult, store: Store, tuned_on: int = 0) -> Measured:
    """A finished cell with the values of all its stages by prompt, without the probes it was tuned on. Raises Unsound
    where a file they are read from is not what the store wrote."""
    import pandas

    tables: list[pandas.DataFrame] = []
    tasks: dict[str, ValueWithError] = {}
    items: dict[str, pandas.Series[float]] = {}
    for kind, record in cell.stages.items():
        stage, folder = stage_of(kind), store.path(kind, record.key)
        if not (stage.by_prompt or stage.with_errors):
            continue
        store.check(kind, record.key)
        if stage.by_prompt:
            inputs = store.inputs(kind, record.key)
            for place in inputs.values():
                store.check(place.parent.name, place.name)
            tables.append(stage.by_prompt(folder, inputs))
        if stage.with_errors:
            tasks |= stage.with_errors(folder)
        if stage.by_item:
            items |= stage.by_item(folder)
    values = unseen(pandas.concat(tables, ignore_index=True), tuned_on)
    counted = cell.stages["base"].facts.get("parameters") if "base" in cell.stages else None
    parameters = counted if isinstance(counted, int) else None
    return Measured(cell.axes(), values, parameters, tasks, cell.gated, items)


def unseen(frame: pandas.DataFrame, tuned_on: int) -> pandas.DataFrame:
    """The probes that nothing was tuned on."""
    return frame[(frame["split"] != "train") | (frame["prompt"] >= tuned_on)] if tuned_on else frame


def _result(
    cell: Cell,
    plan: Plan,
    store: Store,
    outcome: Outcome,
    records: dict[str, StageRecord],
    unsound: Mapping[str, str],
) -> CellResult:
    own = [plan.nodes[key] for key in cell.stages.values()]
    for node in own:
        if node.key not in records and node.key not in unsound and store.is_finished(node.kind, node.key):
            records[node.key] = _record(node, store)
    needed = plan.needed_by(cell) if unsound or outcome.failed else []
    stages = {node.kind: records[node.key] for node in own if node.key in records}
    failure = next((outcome.failed[node.key] for node in needed if node.key in outcome.failed), None)
    damage = next((unsound[node.key] for node in needed if node.key in unsound), None)
    reason = damage or (f"{failure.kind}: {failure.message}" if failure else None)
    log = failure.tail or None if failure else None
    result = CellResult(cell.id, **cell.axes(), status="missing", stages=stages, reason="not run yet", gated=cell.gated)
    if damage:
        return replace(result, reason=reason)
    if cell.stages["dynamics"] in records:  # what a later stage failed to add is missing; the rest is kept
        missing = [kind for kind in cell.stages if kind not in stages]
        why = reason or (f"{', '.join(missing)} not run yet" if missing else None)
        return replace(result, status="finished", reason=why, log=log)
    return result if failure is None else replace(result, status="failed", reason=reason, log=log)


def _record(node: Node, store: Store) -> StageRecord:
    manifest = store.manifest(node.kind, node.key)
    facts = {
        name: found
        for name in (*stage_of(node.kind).facts, CAUTIONS, REMADE)
        if (found := manifest.get(name)) not in (None, [], "")
    }
    return StageRecord(node.key, manifest["seconds"], manifest.get("tokens"), facts)


def cell_curves(store: Store, cell: CellResult, tuned_on: int = 0) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """(learning dynamics by step, training log by step) of a finished cell, without probes it was tuned on. Raises
    Unsound where a file they are read from is not what the store wrote."""
    import pandas

    for kind in ("dynamics", "train"):
        store.check(kind, cell.stages[kind].key)
    place = store.path("dynamics", cell.stages["dynamics"].key)
    if tuned_on:
        dynamics = curves(unseen(pandas.read_parquet(place / PROBES), tuned_on))
    else:
        dynamics = pandas.read_parquet(place / CURVES)
    training = pandas.read_parquet(store.path("train", cell.stages["train"].key) / TRAIN_CURVES)
    return dynamics, training


def read_summary(folder: Path) -> Summary:
    """The summary that `write` left in a folder."""
    from pydantic import TypeAdapter

    raw = json.loads((folder / "summary.json").read_bytes())
    for row in [*raw["cells"], *raw["groups"]]:  # a summary of before this was written down
        row.setdefault("gated", row["gate"] != UNGATED)
    return TypeAdapter(Summary).validate_python(raw)


def write_summary(summary: Summary, plan: Plan, folder: Path) -> None:
    """summary.json, plan.json and cells.parquet of a run."""
    import pandas

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "summary.json", asdict(summary))
    write_json(folder / "plan.json", {
        "suite": plan.suite,
        "cells": [asdict(cell) for cell in plan.cells],
        "stages": {
            key: {"kind": node.kind, "spec": keys.canonical(node.spec), "inputs": node.inputs}
            for key, node in plan.nodes.items()
        },
    })  # fmt: skip
    rows = [{"id": cell.id, **cell.axes(), "status": cell.status, **cell.metrics} for cell in summary.cells]
    pandas.DataFrame(rows).to_parquet(folder / "cells.parquet")
