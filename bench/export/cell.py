"""A finished cell found by its id, with the manifests of all stages that it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.analysis.summary import CellResult
from gatebench.bench.errors import UserError
from gatebench.bench.models.loading import MODEL
from gatebench.bench.run.listing import KnownRun, known_runs
from gatebench.bench.store.manifest import Manifest
from gatebench.bench.store.store import Store
from gatebench.objectives.names import nearest


@dataclass(frozen=True)
class FinishedCell:
    """made: the manifests of its stages and of those that they rest on, by kind, inputs first; trained: the folder of
    its train stage."""

    run: KnownRun
    result: CellResult
    made: Mapping[str, Manifest]
    trained: Path


def finished_cell(identifier: str, results: Path, run: str | None = None) -> FinishedCell:
    """The cell of an id, MODEL/DATA/OBJECTIVE/GATE/SEED. run: the folder's name of the run, where several have it.

    Raises UserError where there is none, where several runs have one, and where it left no weights.
    """
    runs = [known for known in known_runs(results) if run in (None, known.id)]
    if not runs:
        told = f"no run {run!r}; " if run else "no run; "
        raise UserError(f"{results / 'runs'}: {told}bench ls runs --results FOLDER lists them")
    found = [(known, cell) for known in runs for cell in known.cells if cell.id == identifier]
    if not found:
        cells = {cell.id for known in runs for cell in known.cells}
        raise UserError(f"{identifier}: no such cell in {results / 'runs'}; {nearest(identifier, cells)}")
    if len({cell.stages["train"].key if "train" in cell.stages else cell.status for _, cell in found}) > 1:
        names = ", ".join(f"{known.id} (of {known.suite})" for known, _ in found)
        raise UserError(f"{identifier}: several runs have another cell of that id; choose with --run: {names}")
    known, cell = found[0]
    if cell.status != "finished" or "train" not in cell.stages:
        raise UserError(f"{identifier}: {cell.status} ({cell.reason or 'no training'}); bench run its suite again")
    store, key = Store(results / "store"), cell.stages["train"].key
    if not store.is_finished("train", key):
        raise UserError(f"{identifier}: the store in {store.root} lacks its training; bench run its suite again")
    trained = store.whole("train", key)
    store.check("train", key, thorough=True)
    if not (trained / MODEL).is_dir():
        raise UserError(f"{identifier}: it was trained with keep: none, which leaves no weights; write keep: final")
    stages = [(kind, record.key) for kind, record in cell.stages.items()]
    return FinishedCell(known, cell, dict(_manifests(store, stages)), trained)


def _manifests(store: Store, wanted: list[tuple[str, str]]) -> Iterator[tuple[str, Manifest]]:
    for kind, key in wanted:
        manifest = store.manifest(kind, key)
        places = store.inputs(kind, key).values()
        yield from _manifests(store, [(place.parent.name, place.name) for place in places])
        yield kind, manifest
