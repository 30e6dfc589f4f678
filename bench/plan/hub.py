"""Whether what a plan reads from the hub can be had, asked before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from gatebench.bench.data.hub import Hub
from gatebench.bench.data.source import HUB, DataSource
from gatebench.bench.errors import UserError, at
from gatebench.bench.models.checks import Examined, examine
from gatebench.bench.models.source import ModelSource
from gatebench.bench.plan.graph import Plan
from gatebench.bench.plan.lengths import too_long
from gatebench.bench.stages import judge

SECONDS_FOR_FILES = 300.0  # seconds, for a model's configuration and tokenizer


def check_hub(plan: Plan, missing: Collection[str], file: Path) -> None:
    """Ask the hub for every model, data set and judge that a missing stage reads from there, and look through its
    models' configurations and tokenizers. Raises UserError, all at once."""
    hub = Hub()
    models = {model.content: _examined(model, hub) for model in _models(plan, missing)}
    mistakes = [f"{at(file, None, 'models')}: {why}" for found in models.values() for why in found.wrong]
    mistakes += [f"{at(file, None, key)}: {why}" for key, why in _others(plan, missing, hub)]
    bases = {cell.model: plan.nodes[cell.stages["base"]].spec.model.content for cell in plan.cells}
    contexts = {name: models[content].context if content in models else None for name, content in bases.items()}
    mistakes += too_long(plan.cells, plan.nodes, contexts)
    if mistakes:
        raise UserError(*mistakes)


def _models(plan: Plan, missing: Collection[str]) -> list[ModelSource]:
    read = {key for node in missing for _, _, key in plan.nodes[node].inputs}
    bases = [node.spec.model for key, node in plan.nodes.items() if node.kind == "base" and key in read]
    return [model for model in bases if model.is_on_hub]


def _examined(model: ModelSource, hub: Hub) -> Examined:
    if why := hub.why_not_there("model", model.path, model.revision):
        return Examined(None, (f"{model.path!r}: {why}",))
    # here, as the hub's time is for the hub, and a thread given up within an import has no good end
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    try:
        found = hub.ask(lambda: examine(model.path, model.revision), SECONDS_FOR_FILES)
    except TimeoutError as error:
        told = "set HF_HUB_OFFLINE=1 to take what is on this machine"
        found = Examined(None, (f"the hub does not send its configuration and tokenizer ({error}); {told}",))
    return Examined(found.context, tuple(f"{model.path!r}: {sentence}" for sentence in found.wrong))


def _others(plan: Plan, missing: Collection[str], hub: Hub) -> Iterator[tuple[str, str]]:
    """(key of the suite, sentence) of data sets and judges."""
    specs = [plan.nodes[key].spec for key in plan.nodes if key in missing]
    data = {(s.data.path, s.data.revision): s.data for s in specs if isinstance(getattr(s, "data", None), DataSource)}
    for source in data.values():
        if source.is_on_hub and (why := hub.why_not_there("dataset", source.path, source.revision)):
            yield "datasets", f"{source.path!r}: {why}"
    for name in {spec.model: None for spec in specs if isinstance(spec, judge.Spec) and spec.content.startswith(HUB)}:
        if why := hub.why_not_there("model", name, None):
            yield "evaluate.judge.model", f"{name!r}: {why}"
