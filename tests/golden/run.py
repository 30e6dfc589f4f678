"""A tiny suite, run to its end, as numbers: by them a changed result is noticed, and asked for its VERSION."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatebench.bench.analysis.summary import summarize
from gatebench.bench.executors.api import Resources
from gatebench.bench.executors.loop import execute
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages.registry import run_of_kind, stage_of
from gatebench.bench.store.store import Store
from tests.helpers import GOOD, plan_of
from tests.toys.executor import EXECUTOR

FILE = Path(__file__).parent / "tiny.json"
SUITE = GOOD.replace("[none, {", "[none, {kind: shuffled, of: seq}, {")
# Another processor, or torch with other threads, moves the last digits of a float32; four steps do not make more of it.
RELATIVE, ABSOLUTE = 1e-3, 2e-3
AGAIN = "then `python -m tests.golden` writes the numbers anew"


def measured(folder: Path) -> dict[str, Any]:
    """By stage, in the order of the plan: its kind, version and numbers; by cell: its metrics."""
    plan, store = plan_of(folder, SUITE), Store(folder / "store")
    executor = EXECUTOR.make(Resources(1, 1, 0, folder / "logs"), run_of_kind)
    outcome = execute(plan, store, executor, lambda event: None)
    assert not outcome.failed, outcome.failed
    stages = [
        {"kind": node.kind, "version": stage_of(node.kind).version, "numbers": numbers_of(node, store)}
        for node in plan.nodes.values()
    ]
    cells = {
        cell.id: {name: value for name, value in cell.metrics.items() if is_compared(name)}
        for cell in summarize(plan, store, outcome).cells
    }
    return {"stages": stages, "cells": cells}


def is_compared(name: str) -> bool:
    """Not the bounds of an interval, nor a share of differences above 0, which a last digit turns where they are next to
    nothing."""
    return not name.endswith(("_lo", "_hi")) and "accurac" not in name


def numbers_of(node: Node, store: Store) -> dict[str, float]:
    """What a stage made, in a few numbers that any change of it moves."""
    import pandas
    from safetensors.torch import load_file

    found: dict[str, float] = {}
    folder = store.path(node.kind, node.key)
    for file in sorted(folder.rglob("*.safetensors")):
        weights = load_file(file).values()
        found[f"{file.relative_to(folder)}: norm of the weights"] = math.sqrt(sum(float((w**2).sum()) for w in weights))
    for file in sorted(folder.glob("*.parquet")):
        frame = pandas.read_parquet(file)
        for name, column in frame.items():
            values = column.explode() if column.dtype == object else column
            if name not in ("split", "kind") and is_compared(str(name)):
                found[f"{file.name}: mean of {name}"] = float(pandas.to_numeric(values, errors="coerce").mean())
    return {name: value for name, value in found.items() if math.isfinite(value)}


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """One sentence a stage whose numbers are not those that were written down, and what to do; else one a cell."""
    sentences = []
    if [s["kind"] for s in wanted["stages"]] != [s["kind"] for s in found["stages"]]:
        return [f"the tiny suite has other stages than before; if that is meant, {AGAIN}"]
    for before, now in zip(wanted["stages"], found["stages"], strict=True):
        kind, changed = now["kind"], _moved(before["numbers"], now["numbers"])
        if before["version"] != now["version"]:
            sentences.append(f"the version of stage {kind} is {now['version']} and was {before['version']}: {AGAIN}")
        elif changed:
            sentences.append(
                f"results of stage {kind} changed ({changed}) and its VERSION is still {now['version']}: raise it in "
                f"bench/stages/{kind}.py, {AGAIN}"
            )
    if not sentences:
        for cell, metrics in wanted["cells"].items():
            changed = _moved(metrics, found["cells"].get(cell, {}))
            if changed:
                sentences.append(f"metrics of {cell} changed ({changed}) and no stage did; if that is meant, {AGAIN}")
    return list(dict.fromkeys(sentences))


def _moved(wanted: Mapping[str, float], found: Mapping[str, float]) -> str:
    """The first number that is another one, or missing, or new."""
    for name in {**wanted, **found}:
        if name not in wanted or name not in found:
            return f"{name} is {'new' if name in found else 'missing'}"
        if not math.isclose(wanted[name], found[name], rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            return f"{name}: {wanted[name]:.6g} -> {found[name]:.6g}"
    return ""


def write(found: Mapping[str, Any]) -> None:
    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, Mapping):
            return {key: rounded(inner) for key, inner in value.items()}
        return [rounded(inner) for inner in value] if isinstance(value, list) else value

    FILE.write_text(json.dumps(rounded(found), indent=1) + "\n", encoding="utf-8")
