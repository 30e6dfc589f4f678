"""How much work a stage is: its own amount, and what else decides how long that takes on a machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatebench.bench import keys
from gatebench.bench.data.source import TOOLBOX, DataSource
from gatebench.bench.models.ladder import shape_of
from gatebench.bench.models.source import Adapter, ModelSource
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.stages.stage import Amount

SCALES = {"m": 1e6, "b": 1e9}


@dataclass(frozen=True)
class StageWork:
    """A stage's amount and model. Stages of equal group differ in units alone."""

    group: str
    model: ModelSource
    parameters: float | None
    amount: Amount


def model_of(node: Node, nodes: Mapping[str, Node]) -> ModelSource:
    """The model that a stage works on, with the adapter that it trains: all its inputs rest on the same base."""
    adapter: Adapter | None = getattr(node.spec, "adapter", None)
    while node.inputs:
        node = nodes[node.inputs[0][2]]
    found: ModelSource = node.spec.model
    return replace(found, adapter=adapter)


def parameters_of(model: ModelSource) -> float | None:
    """Parameters of a model: of a built-in by its shape, else by the size its name carries (410m, 0.5B, 7b)."""
    if model.is_builtin:
        return float(shape_of(model.path).parameters)
    found = re.search(r"(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", model.path.lower())
    return float(found[1]) * SCALES[found[2]] if found else None


def pairs_of(data: DataSource | None) -> int | None:
    """Training pairs of a data set; None where that is known only after a download."""
    from gatebench.bench.data.adapters import TOOLBOX_DEFAULTS, load

    if data is None:
        return None
    if data.train is not None:
        return data.train
    if data.path == TOOLBOX:
        return TOOLBOX_DEFAULTS[0]
    return None if data.content.startswith("hub:") else len(load(data).train)


def work_of(node: Node, nodes: Mapping[str, Node]) -> StageWork | None:
    """The work of a stage; None where the size of its data set is known only after a download."""
    data: DataSource | None = getattr(node.spec, "data", None)
    inputs = {role: nodes[key].spec for role, _, key in node.inputs}
    amount = stage_of(node.kind).amount(node.spec, inputs, pairs_of(data))
    if amount is None:
        return None
    model = model_of(node, nodes)
    rows = (data.content, data.train_split) if data else ()
    group = [node.kind, model.content, model.dtype, model.adapter, rows, amount.like]
    return StageWork(f"{node.kind}-{keys.digest(group)}", model, parameters_of(model), amount)
