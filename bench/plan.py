"""Suite -> frozen Plan: the cells of the cross product and the stages they share. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from bench import keys
from bench.claims import Claim
from bench.data.source import DataSource
from bench.engines import vllm
from bench.engines.answers import Sampling
from bench.errors import UserError
from bench.models.source import ModelSource
from bench.recipes import Generate, Train, Warmup
from bench.stages import base, dynamics, generate, judge, lm_eval, reference, train, warmup
from bench.stages.stage import library_versions, module_of
from bench.suite import Dataset, GateAxis, Model, Objective, Suite
from objectives.registry import get_loss

NO_VLLM = "evaluate.generate: vLLM is not installed here, so transformers generates; `make vllm` installs it"


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
    """cells in the order of the suite; nodes by key, inputs before what needs them; claims to be judged at the end.

    tuned_on: how many of the first probes of training prompts are left out of every figure."""

    suite: str
    cells: tuple[Cell, ...]
    nodes: Mapping[str, Node]
    claims: tuple[Claim, ...] = ()
    tuned_on: int = 0

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """(kind, key) of every stage, as a store knows them."""
        return [(node.kind, key) for key, node in self.nodes.items()]

    @property
    def at_once(self) -> int:
        """How many stages can run at the same time at most: those of the most frequent kind."""
        return max(Counter(node.kind for node in self.nodes.values()).values(), default=1)

    def keys_of(self, cell: Cell) -> set[str]:
        """The keys of every stage the cell rests on."""
        wanted, pending = set[str](), list(cell.stages.values())
        while pending:
            key = pending.pop()
            if key not in wanted:
                wanted.add(key)
                pending += [key for _, _, key in self.nodes[key].inputs]
        return wanted

    def needed_by(self, cell: Cell) -> list[Node]:
        """Every stage the cell rests on, in order."""
        wanted = self.keys_of(cell)
        return [node for key, node in self.nodes.items() if key in wanted]


def identity(
    kind: str,
    spec: Any,
    inputs: tuple[tuple[str, str, str], ...],
    libraries: Mapping[str, str] | None = None,
    memo: keys.Memo | None = None,
) -> dict[str, Any]:
    """Everything that a stage's key is the hash of, in canonical form; the manifest keeps it."""
    return {
        "kind": kind, "version": module_of(kind).VERSION, "spec": keys.canonical(spec, memo),
        "inputs": {role: key for role, _, key in inputs}, "libraries": libraries or library_versions(),
    }  # fmt: skip


class _Nodes:
    """Nodes under construction: equal stages get one key and stand once."""

    def __init__(self) -> None:
        self.by_key: dict[str, Node] = {}
        self._libraries = library_versions()
        self._memo: keys.Memo = {}

    def add(self, kind: str, spec: Any, **inputs: Node) -> Node:
        roles = tuple((role, node.kind, node.key) for role, node in sorted(inputs.items()))
        key = keys.digest_of_json(identity(kind, spec, roles, self._libraries, self._memo))
        return self.by_key.setdefault(key, Node(kind, spec, roles, key))


def cautions(plan: Plan) -> list[str]:
    """What a user should know of the plan's loss parameters before paying for the training."""
    specs = {(node.spec.loss, node.spec.parameters) for node in plan.nodes.values() if node.kind == "train"}
    found = (get_loss(loss).caution(parameters) for loss, parameters in specs)
    asked = [n.spec for n in plan.nodes.values() if n.kind == "generate" and n.spec.asked == "vllm"]
    if any(spec.backend == "transformers" for spec in asked):
        return sorted([NO_VLLM, *(sentence for sentence in found if sentence)])
    return sorted(sentence for sentence in found if sentence)


@dataclass(frozen=True)
class Sources:
    """The suite's models and data sets by name, its lm-eval tasks and its judge, resolved to content."""

    models: Mapping[str, ModelSource]
    datasets: Mapping[str, DataSource]
    tasks: lm_eval.Spec | None = None
    judge: judge.Spec | None = None

    def unpinned(self) -> list[str]:
        """One sentence where a hub name without a revision leaves content open."""
        hub: list[ModelSource | DataSource] = [*self.models.values(), *self.datasets.values()]
        found = [source.path for source in hub if source.content.startswith("hub:") and source.revision is None]
        if not found:
            return []
        return [f"not pinned, so a change on the hub would go unnoticed: {', '.join(found)}; give each a revision"]


def make_plan(suite: Suite, sources: Sources, only: Callable[[Mapping[str, Any]], bool] = lambda axes: True) -> Plan:
    """The plan of a suite; `only` keeps the cells it is true of (all by default).

    Raises UserError for claims about cells that the suite does not have.
    """
    nodes, cells = _Nodes(), []
    stages_of = _Cells(suite, sources, nodes).stages
    points = list(_points(suite))
    _check_claims(suite.claims, points)
    for axes in filter(only, points):
        identifier = "/".join(str(axes[axis]) for axis in ("model", "dataset", "objective", "gate", "seed"))
        cells.append(Cell(id=identifier, **axes, stages=stages_of(axes)))
    if sources.judge:
        ungated = next((gate.name for gate in suite.gates if gate.kind == "none"), None)
        cells = [_judged(cell, cells, ungated, nodes, sources.judge) for cell in cells]
    return Plan(suite.name, tuple(cells), nodes.by_key, tuple(suite.claims), suite.evaluate.dynamics.tuned_on)


def _points(suite: Suite) -> Iterator[dict[str, Any]]:
    """The axes of every cell that is not excluded."""
    for point in product(suite.models, suite.datasets, suite.objectives, suite.gates, suite.seeds):
        axes = _axes(*point)
        if not any(matches(where, axes) for where in suite.exclude):
            yield axes


def _check_claims(claims: Sequence[Claim], points: Sequence[Mapping[str, Any]]) -> None:
    missing = [
        f"claim {claim.name!r}: the suite has no cell with {', '.join(f'{k} {v}' for k, v in side.items())}; "
        "it is excluded, or its values do not occur together"
        for claim in claims
        for side in (side for pair in claim.contrast.sides() for side in pair)
        if not any(matches(side, axes) for axes in points)
    ]
    if missing:
        raise UserError(*missing)


def _axes(model: Model, dataset: Dataset, objective: Objective, gate: GateAxis, seed: int) -> dict[str, Any]:
    return {
        "model": model.name, "dataset": dataset.name, "objective": objective.name, "loss": objective.loss,
        "warmup": objective.warmup, "gate": gate.name, "seed": seed,
    }  # fmt: skip


def matches(where: Mapping[str, Any], axes: Mapping[str, Any]) -> bool:
    """Whether a cell has one of the wanted values on every axis that `where` names."""
    return all(axes[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in where.items())


@dataclass(frozen=True)
class _Policy:
    """The warm-up policy that cells start from and the stages that come with it."""

    node: Node
    reference: Node
    followed: dynamics.Spec
    start: Node
    asked: generate.Spec | None
    stages: Mapping[str, str]


def _policy(
    sources: Sources, nodes: _Nodes, axes: Mapping[str, Any], suite: Suite, recipe: Train, warm_recipe: Warmup
) -> _Policy:
    wish = suite.evaluate.generate
    model, probed = sources.models[axes["model"]], sources.datasets[axes["dataset"]]
    data = replace(probed, probes=0)
    if model.is_builtin:
        base_node = nodes.add("base", base.Spec(model, data, suite.base))
    else:
        base_node = nodes.add("base", base.Spec(model))
    found, policy = {"base": base_node.key}, base_node
    if axes["warmup"] != "none":
        warm = warmup.Spec(axes["warmup"], warm_recipe, recipe.lengths, model.dtype, model.adapter, data)
        policy = nodes.add("warmup", warm, base=base_node)
        found["warmup"] = policy.key
    scored = nodes.add("reference", reference.Spec(recipe.lengths, model.dtype, data), policy=policy)
    followed = dynamics.Spec(recipe.lengths, model.dtype, probed)
    start = nodes.add("dynamics", followed, policy=policy)
    asked = _generation(wish, recipe, model, data) if wish else None
    return _Policy(policy, scored, followed, start, asked, {**found, "reference": scored.key})


def _generation(wish: Generate, recipe: Train, model: ModelSource, data: DataSource) -> generate.Spec:
    """vLLM by its version where it is installed, else transformers."""
    sampling = Sampling(wish.temperature, wish.top_p, wish.max_tokens, wish.stop, wish.seed)
    backend = (vllm.installed() if wish.backend == "vllm" else None) or "transformers"
    return generate.Spec(backend, sampling, wish.prompts, recipe.lengths, model.dtype, data, wish.backend)


class _Cells:
    """The stages of one cell after another; what cells share is worked out once."""

    def __init__(self, suite: Suite, sources: Sources, nodes: _Nodes) -> None:
        self.suite, self.sources, self.nodes = suite, sources, nodes
        self.gates = {gate.name: suite.gate(gate) for gate in suite.gates}
        self.parameters = {o.name: get_loss(o.loss).make_parameters(**o.parameters) for o in suite.objectives}
        self.policies: dict[Any, _Policy] = {}

    def stages(self, axes: Mapping[str, Any]) -> dict[str, str]:
        recipe, warm_recipe = _recipes(self.suite, axes)
        place = (axes["model"], axes["dataset"], axes["warmup"], recipe.lengths, warm_recipe)
        if place not in self.policies:
            self.policies[place] = _policy(self.sources, self.nodes, axes, self.suite, recipe, warm_recipe)
        policy = self.policies[place]
        model, data = self.sources.models[axes["model"]], policy.reference.spec.data
        gate, parameters = self.gates[axes["gate"]], self.parameters[axes["objective"]]
        spec = train.Spec(axes["loss"], parameters, gate, recipe, model.dtype, model.adapter, data, axes["seed"])
        trained = self.nodes.add("train", spec, policy=policy.node, reference=policy.reference)
        ended = self.nodes.add("dynamics", policy.followed, policy=policy.node, start=policy.start, train=trained)
        found = {**policy.stages, "train": trained.key, "dynamics": ended.key}
        if policy.asked:
            own = self.nodes.add("generate", policy.asked, policy=policy.node)
            answered = self.nodes.add("generate", policy.asked, policy=policy.node, start=own, train=trained)
            found["generate"] = answered.key
        if self.sources.tasks:
            wanted = replace(self.sources.tasks, dtype=model.dtype)
            found["lm_eval"] = self.nodes.add("lm_eval", wanted, policy=policy.node, train=trained).key
        return found


def _judged(cell: Cell, cells: Sequence[Cell], ungated: str | None, nodes: _Nodes, spec: judge.Spec) -> Cell:
    """The cell with the stage that compares its answers with the warm-up policy's and with its ungated twin's."""
    own = nodes.by_key[cell.stages["generate"]]
    opponents = {"warmup": nodes.by_key[next(key for role, _, key in own.inputs if role == "start")]}
    twin = {**cell.axes(), "gate": ungated}
    for other in cells:
        if cell.gate != ungated and other.axes() == twin:
            opponents["ungated"] = nodes.by_key[other.stages["generate"]]
    return replace(cell, stages={**cell.stages, "judge": nodes.add("judge", spec, own=own, **opponents).key})


def _recipes(suite: Suite, axes: Mapping[str, Any]) -> tuple[Train, Warmup]:
    """The suite's recipes with the overrides whose `where` holds, later ones on top."""
    recipe, warm = suite.train, suite.warmup
    for override in suite.overrides:
        if matches(override.where, axes):
            recipe = replace(recipe, **override.train)
            warm = replace(warm, **override.warmup)
    return recipe, warm
