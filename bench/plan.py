"""Suite -> frozen Plan: the cells of the cross product and the stages they share. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from bench import keys
from bench.data.source import DataSource
from bench.models.source import ModelSource
from bench.recipes import Train, Warmup
from bench.stages import base, dynamics, reference, train, warmup
from bench.stages.stage import library_versions, module_of
from bench.suite import Dataset, GateAxis, Model, Objective, Suite
from objectives.registry import get_loss


@dataclass(frozen=True)
class Node:
    """One stage to have: its parameters and the keys of its inputs by role, in order of the roles."""

    kind: str
    spec: Any
    inputs: tuple[tuple[str, str, str], ...]  # (role, kind, key)
    key: str


@dataclass(frozen=True)
class Cell:
    """One point of the cross product and the stages that make it, by kind."""

    id: str
    model: str
    dataset: str
    objective: str
    loss: str
    warmup: str
    gate: str
    seed: int
    stages: Mapping[str, str]

    def axes(self) -> dict[str, Any]:
        found = asdict(self)
        del found["stages"], found["id"]
        return found


@dataclass(frozen=True)
class Plan:
    """cells in the order of the suite; nodes by key, inputs before what needs them."""

    suite: str
    cells: tuple[Cell, ...]
    nodes: Mapping[str, Node]

    def needed_by(self, cell: Cell) -> list[Node]:
        """Every stage the cell rests on, in order."""
        wanted, pending = set[str](), list(cell.stages.values())
        while pending:
            key = pending.pop()
            if key not in wanted:
                wanted.add(key)
                pending += [key for _, _, key in self.nodes[key].inputs]
        return [node for key, node in self.nodes.items() if key in wanted]


def identity(
    kind: str, spec: Any, inputs: tuple[tuple[str, str, str], ...], libraries: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Everything that a stage's key is the hash of, in canonical form; the manifest keeps it."""
    return {
        "kind": kind, "version": module_of(kind).VERSION, "spec": keys.canonical(spec),
        "inputs": {role: key for role, _, key in inputs}, "libraries": libraries or library_versions(),
    }  # fmt: skip


class _Nodes:
    """Nodes under construction: equal stages get one key and stand once."""

    def __init__(self) -> None:
        self.by_key: dict[str, Node] = {}
        self._known: dict[Any, Node] = {}
        self._libraries = library_versions()

    def add(self, kind: str, spec: Any, **inputs: Node) -> Node:
        roles = tuple((role, node.kind, node.key) for role, node in sorted(inputs.items()))
        known = self._known.get((kind, spec, roles))
        if known is None:
            known = Node(kind, spec, roles, keys.digest(identity(kind, spec, roles, self._libraries)))
            self._known[(kind, spec, roles)] = known
            self.by_key.setdefault(known.key, known)
        return known


def cautions(plan: Plan) -> list[str]:
    """What a user should know of the plan's loss parameters before paying for the training."""
    specs = {(node.spec.loss, node.spec.parameters) for node in plan.nodes.values() if node.kind == "train"}
    found = (get_loss(loss).caution(parameters) for loss, parameters in specs)
    return sorted(sentence for sentence in found if sentence)


@dataclass(frozen=True)
class Sources:
    """The suite's models and data sets, resolved to content, by name."""

    models: Mapping[str, ModelSource]
    datasets: Mapping[str, DataSource]

    def unpinned(self) -> list[str]:
        """One sentence where a hub name without a revision leaves content open."""
        hub: list[ModelSource | DataSource] = [*self.models.values(), *self.datasets.values()]
        found = [source.path for source in hub if source.content.startswith("hub:") and source.revision is None]
        if not found:
            return []
        return [f"not pinned, so a change on the hub would go unnoticed: {', '.join(found)}; give each a revision"]


def make_plan(suite: Suite, sources: Sources, only: Callable[[Mapping[str, Any]], bool] = lambda axes: True) -> Plan:
    """The plan of a suite; `only` keeps the cells it is true of (all by default)."""
    nodes, cells = _Nodes(), []
    for model, dataset, objective, gate, seed in _points(suite):
        axes = _axes(model, dataset, objective, gate, seed)
        if any(matches(where, axes) for where in suite.exclude) or not only(axes):
            continue
        stages = _stages(suite, sources, nodes, axes, objective, gate)
        identifier = "/".join(str(axes[axis]) for axis in ("model", "dataset", "objective", "gate", "seed"))
        cells.append(Cell(id=identifier, **axes, stages=stages))
    return Plan(suite.name, tuple(cells), nodes.by_key)


def _points(suite: Suite) -> Iterator[tuple[Model, Dataset, Objective, GateAxis, int]]:
    yield from product(suite.models, suite.datasets, suite.objectives, suite.gates, suite.seeds)


def _axes(model: Model, dataset: Dataset, objective: Objective, gate: GateAxis, seed: int) -> dict[str, Any]:
    return {
        "model": model.name, "dataset": dataset.name, "objective": objective.name, "loss": objective.loss,
        "warmup": objective.warmup, "gate": gate.name, "seed": seed,
    }  # fmt: skip


def matches(where: Mapping[str, Any], axes: Mapping[str, Any]) -> bool:
    """Whether a cell has one of the wanted values on every axis that `where` names."""
    return all(axes[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in where.items())


def _stages(
    suite: Suite, sources: Sources, nodes: _Nodes, axes: Mapping[str, Any], objective: Objective, gate: GateAxis
) -> dict[str, str]:
    """Add the stages of one cell; those that other cells have already are shared."""
    model, probed = sources.models[axes["model"]], sources.datasets[axes["dataset"]]
    data = replace(probed, probes=0)
    recipe, warm_recipe = _recipes(suite, axes)
    if model.is_builtin:
        base_node = nodes.add("base", base.Spec(model, data, suite.base))
    else:
        base_node = nodes.add("base", base.Spec(model))
    found, policy = {"base": base_node.key}, base_node
    if objective.warmup != "none":
        warm = warmup.Spec(objective.warmup, warm_recipe, recipe.lengths, model.dtype, model.adapter, data)
        policy = nodes.add("warmup", warm, base=base_node)
        found["warmup"] = policy.key
    scored = nodes.add("reference", reference.Spec(recipe.lengths, model.dtype, data), policy=policy)
    parameters = get_loss(objective.loss).make_parameters(**objective.parameters)
    resolved = suite.gate(gate)
    trained = nodes.add(
        "train",
        train.Spec(objective.loss, parameters, resolved, recipe, model.dtype, model.adapter, data, axes["seed"]),
        policy=policy, reference=scored,
    )  # fmt: skip
    followed = dynamics.Spec(recipe.lengths, model.dtype, probed)
    start = nodes.add("dynamics", followed, policy=policy)
    ended = nodes.add("dynamics", followed, policy=policy, start=start, train=trained)
    return {**found, "reference": scored.key, "train": trained.key, "dynamics": ended.key}


def _recipes(suite: Suite, axes: Mapping[str, Any]) -> tuple[Train, Warmup]:
    """The suite's recipes with the overrides whose `where` holds, later ones on top."""
    recipe, warm = suite.train, suite.warmup
    for override in suite.overrides:
        if matches(override.where, axes):
            recipe = replace(recipe, **override.train)
            warm = replace(warm, **override.warmup)
    return recipe, warm
