"""What a store holds that no suite needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.registry import kinds
from gatebench.bench.store.store import Store


def unneeded(plans: Iterable[Plan], store: Store) -> dict[str, list[Path]]:
    """By stage kind: finished stages that no plan has; under "leftovers": unfinished, orphaned and damaged ones."""
    needed = {(node.kind, key) for plan in plans for key, node in plan.nodes.items()}
    found = {
        kind: [store.path(kind, key) for key in store.finished(kind) if (kind, key) not in needed] for kind in kinds()
    }
    return {kind: places for kind, places in {**found, "leftovers": store.leftovers()}.items() if places}
