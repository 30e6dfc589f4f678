"""Whether the recipes of a plan can be trained: of these models on any machine, and on the one that this is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.errors import UserError
from gatebench.bench.machine import default_workers
from gatebench.bench.models.source import ModelSource
from gatebench.bench.models.targets import wrong_targets
from gatebench.bench.plan.graph import Plan, Sources
from gatebench.bench.suite.optimizers import of_bitsandbytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# By transformers' name of an attention: what a class of its that has it says, and the package that brings it.
ATTENTIONS = {
    "sdpa": ("_supports_sdpa", None), "flash_attention_2": ("_supports_flash_attn", "flash_attn"),
    "flash_attention_3": ("_supports_flash_attn", "flash_attn_interface"),
    "flex_attention": ("_supports_flex_attn", None),
}  # fmt: skip
GPU = "needs a GPU, and this machine has none"


def check_recipes(plan: Plan, sources: Sources) -> None:
    """Raise UserError, all at once, for what a model cannot be trained with on any machine. Models of the hub, whose
    architecture is not here, are left to their first stage."""
    mistakes: list[str] = []
    for cell in plan.cells:
        source, place = sources.models[cell.model], f"model {cell.model}"
        adapter = source.adapter
        if adapter and adapter.bits and cell.warmup != "none":
            mistakes.append(
                f"{place}, objective {cell.objective}: a warm-up would be merged into weights of {adapter.bits} bits, "
                "which round most of it away; write warmup: none, and let the model be one that was warmed up before"
            )
        kinds = [plan.nodes[key] for kind, key in cell.stages.items() if kind in ("warmup", "train")]
        checkpointing = any(node.spec.recipe.gradient_checkpointing for node in kinds)
        mistakes += (f"{place}: {why}" for why in _unsupported(source, checkpointing))
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))


def not_runnable_here(plan: Plan) -> list[str]:
    """A sentence for each thing in the recipes of a plan that this machine lacks."""
    gpus, found = default_workers()[2], list[str]()
    has_gpu = bool(gpus)
    for node in plan.nodes.values():
        if node.kind not in ("warmup", "train"):
            continue
        if has_gpu and node.devices > gpus:
            found.append(f"devices: a training wants {node.devices} GPUs at once, and this machine has {gpus}")
        recipe, adapter, attention = node.spec.recipe, node.spec.adapter, node.spec.attention
        if of_bitsandbytes(recipe.optimizer):
            why = _lacks(has_gpu, "bitsandbytes")
            found += [f"{node.kind}.optimizer: {recipe.optimizer} {why}; adamw_torch runs anywhere"] if why else []
        if adapter and adapter.bits and (why := _lacks(has_gpu, "bitsandbytes")):
            found.append(f"adapter.bits: a model in {adapter.bits} bits {why}; leave bits out")
        if attention in ATTENTIONS and attention != "sdpa" and (why := _lacks(has_gpu, ATTENTIONS[attention][1])):
            found.append(f"attention: {attention} {why}; sdpa runs anywhere")
        if node.kind == "train" and recipe.torch_compile and (why := _without_compiler(has_gpu)):
            found.append(f"train.torch_compile: {why}")
    return list(dict.fromkeys(found))


def _lacks(has_gpu: bool, package: str | None) -> str | None:
    if not has_gpu:
        return GPU
    if package and not find_spec(package):
        return f"needs the package {package}, which is not installed (pip install {package.replace('_', '-')})"
    return None


def _without_compiler(has_gpu: bool) -> str | None:
    if has_gpu:
        return None if find_spec("triton") else "TorchInductor needs triton on a GPU, which is not installed"
    known = [os.environ.get("CXX", "g++"), "clang++"]
    return None if any(map(shutil.which, known)) else "TorchInductor needs a C++ compiler, and there is no g++ here"


def _unsupported(source: ModelSource, checkpointing: bool) -> Iterator[str]:
    """What an architecture that is here has not."""
    adapter, attention = source.adapter, source.attention
    targets = adapter.targets if adapter and not isinstance(adapter.targets, str) else ()
    asked = bool(targets or attention or checkpointing)
    if not asked or not (source.is_builtin or Path(source.path).is_dir()):
        return
    model = _skeleton(source.path)
    kind = type(model).__name__
    if checkpointing and not model.supports_gradient_checkpointing:
        yield f"{kind} has no gradient checkpointing; write gradient_checkpointing: false"
    if attention in ATTENTIONS and not getattr(model, ATTENTIONS[attention][0], False):
        yield f"{kind} has no attention {attention}; write attention: eager"
    if attention == "sdpa" and getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        yield f"attention sdpa leaves out the softcapping that {kind} has; write attention: eager"
    yield from wrong_targets(model, targets)


@lru_cache(maxsize=8)
def _skeleton(path: str) -> PreTrainedModel:
    """The model of a built-in or a local folder, without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from gatebench.bench.models import ladder
    from gatebench.bench.models.source import BUILTIN

    config = (
        ladder.make_config(path) if path.startswith(BUILTIN)
        else AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    )  # fmt: skip
    with torch.device("meta"):
        found: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return found
