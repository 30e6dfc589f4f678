"""The judged comparisons of a suite that are finished, with names and texts, for whoever reads them elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebench.bench.analysis.samples import warm_up_names
from gatebench.bench.plan.graph import Cell, Plan
from gatebench.bench.stages.judge import BASELINE_FILE, judged_answers
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Judged:
    """A cell's answers beside those of one opponent. rows: by prompt, as `judged_answers` has them; opponent: what it
    is to the cell; name: who it is; judge: kind and model."""

    cell: Cell
    opponent: str
    name: str
    judge: str
    rows: pandas.DataFrame


def finished_comparisons(plan: Plan, store: Store) -> Iterator[Judged]:
    """Of every cell whose verdicts are finished and whose answers are still there, one an opponent. Raises Unsound for
    files that are not what the store wrote."""
    by_generate = {cell.stages["generate"]: cell.id for cell in plan.cells if "generate" in cell.stages}
    judged = [(cell, key) for cell in plan.cells if (key := cell.stages.get("judge"))]
    judged = [(cell, key) for cell, key in judged if store.is_finished("judge", key)]
    rests = {key: store.inputs("judge", key) for _, key in judged}
    policies = warm_up_names((cell, rests[key]["warmup"].name) for cell, key in judged)
    for cell, key in judged:
        store.check("judge", key)
        inputs, spec = rests[key], plan.nodes[key].spec
        for place in inputs.values():
            store.check(place.parent.name, place.name)
        folder = store.path("judge", key)
        found = judged_answers(folder, inputs)
        if "response" not in found:
            continue
        names = {"warmup": policies[cell.id]}
        if "ungated" in inputs:
            names["ungated"] = by_generate.get(inputs["ungated"].name, f"{cell.id} ungated")
        if (folder / BASELINE_FILE).exists():
            import pandas

            names["baseline"] = str(pandas.read_parquet(folder / BASELINE_FILE)["name"].iloc[0])
        judge = " ".join(filter(None, (spec.kind, spec.model)))
        for opponent, rows in found.groupby("opponent"):
            yield Judged(cell, str(opponent), names[str(opponent)], judge, rows.sort_values("prompt"))
