"""How much work a stage is: its amount, and what else decides how long that takes on a machine."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatebench.bench import keys
from gatebench.bench.data.source import TOOLBOX, DataSource
from gatebench.bench.models.ladder import shape_of
from gatebench.bench.models.source import ModelSource
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages import base
from gatebench.bench.suite.recipes import Train

FORWARD, TRAINING = 2, 6  # floating-point operations a parameter and token (Kaplan et al. 2020, sec. 2.1)
KINDS_A_PROBE = 12  # responses of one prompt that are followed, about
SCORED = 16  # responses scored at once, about
SCALES = {"m": 1e6, "b": 1e9}


@dataclass(frozen=True)
class Amount:
    """What one stage does.

    units: tokens for a base, else pairs or probes, counted as often as they are seen; unit_tokens: the most tokens
    of one; batch_tokens: the most in memory at once; states: numbers kept a parameter (weights, gradient, moments);
    saved: models written; like: what else of the recipe decides the time a unit takes.
    """

    units: float
    unit_tokens: int
    flops_a_token: int
    batch_tokens: int
    states: int
    saved: int
    like: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Work:
    """A stage's amount and model. Stages of equal group differ in units alone."""

    group: str
    model: ModelSource
    parameters: float | None
    amount: Amount


def model_of(node: Node, nodes: Mapping[str, Node]) -> ModelSource:
    """The model that a stage works on, found through its inputs."""
    while node.kind != "base":
        node = next(nodes[key] for role, _, key in node.inputs if role in ("policy", "base", "own"))
    found: ModelSource = node.spec.model
    return found


def parameters_of(model: ModelSource) -> float | None:
    """Parameters of a model: of a built-in by its shape, else by the size its name carries (410m, 0.5B, 7b)."""
    if model.is_builtin:
        return float(shape_of(model.path).parameters)
    found = re.search(r"(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", model.path.lower())
    return float(found[1]) * SCALES[found[2]] if found else None


def pairs_of(data: DataSource) -> int | None:
    """Training pairs of a data set; None where that is known only after a download."""
    from gatebench.bench.data.adapters import TOOLBOX_DEFAULTS, load

    if data.train is not None:
        return data.train
    if data.path == TOOLBOX:
        return TOOLBOX_DEFAULTS[0]
    return None if data.content.startswith("hub:") else len(load(data).train)


def work_of(node: Node, nodes: Mapping[str, Node]) -> Work | None:
    """The work of a stage; None where the size of its data set is known only after a download."""
    model = model_of(node, nodes)
    if node.kind == "generate":
        spec = node.spec
        most = spec.lengths.max_length + spec.sampling.max_tokens
        amount: Amount | None = Amount(spec.prompts, most, FORWARD, SCORED * most, 1, 0, (spec.backend, spec.sampling))
    elif node.kind == "judge":
        amount = Amount(1, 0, FORWARD, 0, 1, 0, (node.spec,))
    elif node.kind == "lm_eval":
        amount = Amount(1, 0, FORWARD, 0, 1, 0, (node.spec.tasks, node.spec.content, node.spec.limit))
    else:
        amount = _base(node.spec) if node.kind == "base" else _on_pairs(node, nodes)
    if amount is None:
        return None
    data = (node.spec.data.content, node.spec.data.train_split) if getattr(node.spec, "data", None) else ()
    group = [node.kind, model.content, model.dtype, model.adapter, data, amount.like]
    return Work(f"{node.kind}-{keys.digest(group)}", model, parameters_of(model), amount)


def _base(spec: base.Spec) -> Amount:
    recipe = spec.recipe
    if recipe is None:
        return Amount(0, 0, 0, 0, 0, 0)
    batch = recipe.batch_size * recipe.context
    return Amount(recipe.tokens, 1, TRAINING, batch, 4, 1, (recipe.batch_size, recipe.context))


def _on_pairs(node: Node, nodes: Mapping[str, Node]) -> Amount | None:
    spec, pairs = node.spec, pairs_of(node.spec.data)
    if pairs is None:
        return None
    if node.kind == "train":
        return _train(spec.recipe, pairs)
    width, like = spec.lengths.max_length, (spec.lengths,)
    if node.kind == "warmup":
        rows = min(spec.recipe.pairs or pairs, pairs) * (2 if spec.kind == "extended_sft" else 1)
        batch = spec.recipe.batch_size
        return Amount(rows * spec.recipe.epochs, width, TRAINING, batch * width, 4, 1, (*like, batch))
    if node.kind == "reference":
        return Amount(pairs, 2 * width, FORWARD, SCORED * width, 1, 0, like)
    trained = next((nodes[key] for role, _, key in node.inputs if role == "train"), None)
    times = checkpoints_of(trained.spec.recipe, pairs) if trained else 1
    probes = min(spec.data.probes, pairs) + min(spec.data.probes, spec.data.test or spec.data.probes)
    return Amount(times * probes, KINDS_A_PROBE * width, FORWARD, SCORED * width, 2, 0, (*like, trained is None))


def _train(recipe: Train, pairs: int) -> Amount:
    micro = recipe.micro_batch_size or recipe.batch_size
    width, states = recipe.lengths.max_length, 4 if "adam" in recipe.optimizer else 3
    like = (recipe.lengths, recipe.batch_size, micro, recipe.layout)
    units, saved = steps_of(recipe, pairs) * recipe.batch_size, checkpoints_of(recipe, pairs)
    return Amount(units, 2 * width, TRAINING, micro * 2 * width, states, saved, like)


def steps_of(recipe: Train, pairs: int) -> int:
    """Optimizer steps of a preference training."""
    return recipe.steps or recipe.epochs * math.ceil(pairs / recipe.batch_size)


def checkpoints_of(recipe: Train, pairs: int) -> int:
    """Models that a preference training leaves: every evaluate_every steps, and the last."""
    return len(range(recipe.evaluate_every, steps_of(recipe, pairs), recipe.evaluate_every)) + 1
