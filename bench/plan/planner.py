"""Suite -> frozen Plan: the cells of the cross product and the stages they share. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from pydantic import ValidationError

from gatebench.bench import keys
from gatebench.bench.data.pairs import Draw
from gatebench.bench.data.source import DataSource
from gatebench.bench.engines import vllm
from gatebench.bench.engines.sampling import Sampling
from gatebench.bench.errors import UserError
from gatebench.bench.metrics.dynamics import PROFILE
from gatebench.bench.models.source import ModelSource
from gatebench.bench.plan.graph import Axes, Cell, Node, Plan, Questions, Sources, Where, cell_name, identity, matches
from gatebench.bench.plan.lengths import too_long
from gatebench.bench.stages import base, dynamics, generate, geometry, judge, reference, train, warmup
from gatebench.bench.stages.stage import library_versions
from gatebench.bench.suite.recipes import Generate, Train, Warmup
from gatebench.bench.suite.schema import Dataset, GateAxis, Model, Objective, Suite
from gatebench.bench.suite.seeds import Drawn, repetitions, varied
from gatebench.objectives.registry import get_loss

NO_VLLM = "evaluate.generate: vLLM is not installed here, so transformers generates; `make vllm` installs it"


class _Nodes:
    """Nodes under construction: equal stages get one key and stand once."""

    def __init__(self) -> None:
        self.by_key: dict[str, Node] = {}
        self._libraries = library_versions()
        self._memo: keys.Memo = {}

    def add(self, kind: str, spec: object, **inputs: Node) -> Node:
        roles = tuple((role, node.kind, node.key) for role, node in sorted(inputs.items()))
        key = keys.digest_of_json(identity(kind, spec, roles, self._libraries, self._memo))
        return self.by_key.setdefault(key, Node(kind, spec, roles, key))


def plan_cautions(plan: Plan) -> list[str]:
    """What a user should know of the plan's loss parameters before paying for the training."""
    specs = {(node.spec.loss, node.spec.parameters) for node in plan.nodes.values() if node.kind == "train"}
    found = (get_loss(loss).caution(parameters) for loss, parameters in specs)
    asked = [n.spec for n in plan.nodes.values() if n.kind == "generate" and n.spec.asked == "vllm"]
    if any(spec.backend == "transformers" for spec in asked):
        return sorted([NO_VLLM, *(sentence for sentence in found if sentence)])
    return sorted(sentence for sentence in found if sentence)


def make_plan(suite: Suite, sources: Sources, only: Callable[[Where], bool] = lambda axes: True) -> Plan:
    """The plan of a suite; `only` keeps the cells it is true of (all by default).

    Raises UserError for claims about cells that the suite does not have, and for rows that a model cannot read.
    """
    nodes = _Nodes()
    stages_of = _Cells(suite, sources, nodes).stages
    points = list(_points(suite))
    ungated = [gate.name for gate in suite.gates if not gate.is_gated]
    _check_sides(suite, points)
    cells = [
        Cell(id=cell_name(axes), **axes, stages=stages_of(axes), gated=axes["gate"] not in ungated)
        for axes in filter(only, points)
    ]
    mistakes = too_long(cells, nodes.by_key, {name: model.context for name, model in sources.models.items()})
    if mistakes:
        raise UserError(*mistakes)
    if sources.judge:
        cells = [_judged(cell, cells, next(iter(ungated), None), nodes, sources.judge) for cell in cells]
    left_out = tuple(axes for axes in points if not only(axes))
    tuned_on = suite.evaluate.dynamics.tuned_on
    spread = varied(list(repetitions(suite.seeds).values()))
    return Plan(suite.name, tuple(cells), nodes.by_key, tuple(suite.claims), tuned_on, left_out, spread, suite.remedies)


def _points(suite: Suite) -> Iterator[Axes]:
    """The axes of every cell that is not excluded."""
    for point in product(suite.models, suite.datasets, suite.objectives, suite.gates, repetitions(suite.seeds)):
        axes = _axes(*point)
        if not any(matches(where, axes) for where in suite.exclude):
            yield axes


def _check_sides(suite: Suite, points: Sequence[Axes]) -> None:
    sides = [
        *(
            (f"claim {claim.name!r}", side)
            for claim in suite.claims
            for pair in claim.contrast.sides()
            for side in pair
        ),
        *((f"remedy {name!r}", where) for name, where in suite.remedies.items()),
    ]
    missing = [
        f"{what}: the suite has no cell with {', '.join(f'{k} {v}' for k, v in side.items())}; "
        "it is excluded, or its values do not occur together"
        for what, side in sides
        if not any(matches(side, axes) for axes in points)
    ]
    if missing:
        raise UserError(*missing)


def _axes(model: Model, dataset: Dataset, objective: Objective, gate: GateAxis, seed: int) -> Axes:
    return {
        "model": model.name, "dataset": dataset.name, "objective": objective.name, "loss": objective.loss,
        "warmup": objective.warmup, "gate": gate.name, "seed": seed,
    }  # fmt: skip


@dataclass(frozen=True)
class _Policy:
    """The warm-up policy that cells start from and the stages that come with it."""

    node: Node
    scored: reference.Spec
    followed: dynamics.Spec
    start: Node
    asked: generate.Spec | None
    stages: Mapping[str, str]


def _policy(
    sources: Sources, nodes: _Nodes, axes: Axes, suite: Suite, recipe: Train, warm_recipe: Warmup, drawn: Drawn
) -> _Policy:
    wish = suite.evaluate.generate
    model, given = sources.models[axes["model"]], sources.datasets[axes["dataset"]]
    probed = replace(given, draw=Draw(drawn.data, given.probes)) if drawn.data else given
    data = replace(probed, probes=0)
    if model.is_builtin:
        base_node = nodes.add("base", base.Spec(model.as_base, replace(given, probes=0), suite.base, drawn.base))
    else:
        base_node = nodes.add("base", base.Spec(model.as_base))
    found, policy = {"base": base_node.key}, base_node
    if axes["warmup"] != "none":
        warm = warmup.Spec(
            axes["warmup"],
            warm_recipe,
            recipe.lengths,
            model.dtype,
            model.adapter,
            data,
            drawn.warmup,
            weights=model.weights,
            attention=model.attention,
        )
        policy = nodes.add("warmup", warm, base=base_node)
        found["warmup"] = policy.key
    scored = reference.Spec(recipe.lengths, model.dtype, data, model.weights, model.attention)
    more = suite.evaluate.dynamics
    followed = dynamics.Spec(
        recipe.lengths, model.dtype, probed, model.weights, PROFILE * more.profile, more.confidence
    )
    start = nodes.add("dynamics", followed, policy=policy)
    if suite.evaluate.geometry:
        found["geometry"] = nodes.add(
            "geometry", geometry.Spec(recipe.lengths, probed, model.weights), policy=policy
        ).key
    asked = _generation(wish, recipe, model, data, sources.questions) if wish else None
    return _Policy(policy, scored, followed, start, asked, found)


def _generation(
    wish: Generate, recipe: Train, model: ModelSource, data: DataSource, questions: Questions | None
) -> generate.Spec:
    """vLLM by its version where it is installed, else transformers."""
    sampling = Sampling(wish.temperature, wish.top_p, wish.max_tokens, wish.stop, wish.seed)
    backend = (vllm.installed() if wish.backend == "vllm" else None) or "transformers"
    file = (questions.path, questions.content) if questions else ("", "")
    return generate.Spec(
        backend, sampling, wish.prompts, recipe.lengths, model.dtype, data, wish.backend, *file, wish.samples
    )


class _Cells:
    """The stages of one cell after another; what cells share is worked out once."""

    def __init__(self, suite: Suite, sources: Sources, nodes: _Nodes) -> None:
        self.suite, self.sources, self.nodes = suite, sources, nodes
        self.gates = {gate.name: suite.gate(gate) for gate in suite.gates}
        self.parameters = {o.name: get_loss(o.loss).make_parameters(**o.parameters) for o in suite.objectives}
        self.drawn = repetitions(suite.seeds)
        self.policies: dict[Hashable, _Policy] = {}

    def stages(self, axes: Axes) -> dict[str, str]:
        recipe, warm_recipe = _recipes(self.suite, axes)
        drawn = self.drawn[axes["seed"]]
        place = (axes["model"], axes["dataset"], axes["warmup"], recipe.lengths, warm_recipe, replace(drawn, train=0))
        if place not in self.policies:
            self.policies[place] = _policy(self.sources, self.nodes, axes, self.suite, recipe, warm_recipe, drawn)
        policy = self.policies[place]
        model, data = self.sources.models[axes["model"]], policy.scored.data
        gate, parameters = self.gates[axes["gate"]], self.parameters[axes["objective"]]
        spec = train.Spec(axes["loss"], parameters, gate, recipe, model.dtype, model.adapter, data, drawn.train,
                          model.weights, model.attention,
                          policy.followed.data if recipe.keep != "all" else None,
                          policy.followed.profile * (recipe.keep != "all"),
                          policy.followed.confidence and recipe.keep != "all")  # fmt: skip
        read, found = {}, dict(policy.stages)
        if get_loss(axes["loss"]).reference or gate.compares or gate.reads_reference:
            read["reference"] = self.nodes.add("reference", policy.scored, policy=policy.node)
            found["reference"] = read["reference"].key
        trained = self.nodes.add("train", spec, policy=policy.node, **read)
        ended = self.nodes.add("dynamics", policy.followed, policy=policy.node, start=policy.start, train=trained)
        found |= {"train": trained.key, "dynamics": ended.key}
        if policy.asked:
            own = self.nodes.add("generate", policy.asked, policy=policy.node)
            answered = self.nodes.add("generate", policy.asked, policy=policy.node, start=own, train=trained)
            found["generate"] = answered.key
        if self.sources.rewards:
            rewarded = replace(self.sources.rewards, weights=model.weights)
            began = self.nodes.add("implicit_reward", rewarded, policy=policy.node)
            found["implicit_reward"] = self.nodes.add(
                "implicit_reward", rewarded, policy=policy.node, start=began, train=trained
            ).key
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
        if cell.gated and other.axes() == twin:
            opponents["ungated"] = nodes.by_key[other.stages["generate"]]
    return replace(cell, stages={**cell.stages, "judge": nodes.add("judge", spec, own=own, **opponents).key})


def _recipes(suite: Suite, axes: Axes) -> tuple[Train, Warmup]:
    """The suite's recipes with the overrides whose `where` holds, later ones on top. Raises UserError for values that
    do not go together."""
    recipe, warm = suite.train, suite.warmup
    for place, override in enumerate(suite.overrides):
        if matches(override.where, axes):
            try:
                recipe = replace(recipe, **override.train)
                warm = replace(warm, **override.warmup)
            except ValidationError as error:
                said = (problem["msg"].removeprefix("Value error, ") for problem in error.errors())
                raise UserError(*(f"overrides.{place}, over what the suite says: {why}" for why in said)) from None
    return recipe, warm
