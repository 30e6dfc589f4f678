"""Why a stage will run: what differs between it and the nearest finished stage of its kind."""

from __future__ import annotations

from collections.abc import Mapping

from gatebench.bench.errors import UserError
from gatebench.bench.plan.graph import Cell, Node, Plan, identity
from gatebench.bench.store.manifest import Unsound
from gatebench.bench.store.store import Store
from gatebench.objectives.names import nearest


def find_cell(plan: Plan, identifier: str) -> Cell:
    """The cell of an id. Raises UserError with the nearest one."""
    found = {cell.id: cell for cell in plan.cells}
    if identifier not in found:
        raise UserError(f"--why {identifier}: no such cell; {nearest(identifier, found)}")
    return found[identifier]


def explain(plan: Plan, cell: Cell, store: Store) -> list[str]:
    """One line a stage that the cell rests on: finished, or the changes that make it run."""
    return [f"{node.kind} {node.key}: {_reason(node, store)}" for node in plan.needed_by(cell)]


def _reason(node: Node, store: Store) -> str:
    if store.is_finished(node.kind, node.key):
        return "finished"
    ours = _flat(identity(node.kind, node.spec, node.inputs))
    best: tuple[str, list[str]] | None = None
    for key in store.finished(node.kind):
        try:
            manifest = store.manifest(node.kind, key)
        except Unsound:
            continue
        theirs = _flat({name: manifest.get(name) for name in ("kind", "version", "spec", "inputs", "libraries")})
        changes = [
            f"{name} {_shown(theirs.get(name))} -> {_shown(ours.get(name))}"
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        ]
        if best is None or len(changes) < len(best[1]):
            best = key, changes
    if best is None:
        return f"would run: no {node.kind} stage is finished yet"
    return f"would run: the nearest finished one, {best[0]}, differs in {'; '.join(best[1])}"


def _shown(value: object) -> str:
    return "(none)" if value is None else str(value)


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, Mapping):
        inner = [_flat(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {k: v for found in inner for k, v in found.items()}
    return {prefix: value}
