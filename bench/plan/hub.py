"""Whether what a plan reads from the hub can be had, asked before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from gatebench.bench.data.hub import why_not_there
from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import UserError, at
from gatebench.bench.models.checks import Examined, examine
from gatebench.bench.models.source import ModelSource
from gatebench.bench.plan.graph import Plan
from gatebench.bench.plan.lengths import too_long
from gatebench.bench.stages import judge

HUB = "hub:"  # starts the content of what is there


def check_hub(plan: Plan, missing: Collection[str], file: Path) -> None:
    """Ask the hub for every model, data set and judge that a missing stage reads from there, and look through its
    models' configurations and tokenizers. Raises UserError, all at once."""
    models = {model.content: _examined(model) for model in _models(plan, missing)}
    mistakes = [f"{at(file, None, 'models')}: {why}" for found in models.values() for why in found.wrong]
    mistakes += [f"{at(file, None, key)}: {why}" for key, why in _others(plan, missing)]
    bases = {cell.model: plan.nodes[cell.stages["base"]].spec.model.content for cell in plan.cells}
    contexts = {name: models[content].context if content in models else None for name, content in bases.items()}
    mistakes += too_long(plan.cells, plan.nodes, contexts)
    if mistakes:
        raise UserError(*mistakes)


def _models(plan: Plan, missing: Collection[str]) -> list[ModelSource]:
    read = {key for node in missing for _, _, key in plan.nodes[node].inputs}
    bases = [node.spec.model for key, node in plan.nodes.items() if node.kind == "base" and key in read]
    return [model for model in bases if model.content.startswith(HUB)]


def _examined(model: ModelSource) -> Examined:
    why = why_not_there("model", model.path, model.revision)
    found = Examined(None, (why,)) if why else examine(model.path, model.revision)
    return Examined(found.context, tuple(f"{model.path!r}: {sentence}" for sentence in found.wrong))


def _others(plan: Plan, missing: Collection[str]) -> Iterator[tuple[str, str]]:
    """(key of the suite, sentence) of data sets and judges."""
    specs = [plan.nodes[key].spec for key in plan.nodes if key in missing]
    data = {(s.data.path, s.data.revision): s.data for s in specs if isinstance(getattr(s, "data", None), DataSource)}
    for source in data.values():
        if source.content.startswith(HUB) and (why := why_not_there("dataset", source.path, source.revision)):
            yield "datasets", f"{source.path!r}: {why}"
    for name in {spec.model: None for spec in specs if isinstance(spec, judge.Spec) and spec.content.startswith(HUB)}:
        if why := why_not_there("model", name, None):
            yield "evaluate.judge.model", f"{name!r}: {why}"
