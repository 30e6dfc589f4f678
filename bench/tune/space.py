"""From a tune block to the space that is searched, and from a trial's parameters to the suite of that trial.

Pure, but for asking Optuna's trial for its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from gatebench.bench.errors import UserError
from gatebench.bench.metrics.registry import title
from gatebench.bench.plan.graph import matches
from gatebench.bench.suite.losses import with_number
from gatebench.bench.suite.schema import Dataset, GateAxis, Model, Objective, Suite
from gatebench.bench.suite.tuning import RATE, Dimension, Range, Tune
from gatebench.objectives.gates import CONTROLS, REWEIGHTERS, UNGATED
from gatebench.objectives.registry import get_loss

if TYPE_CHECKING:
    import optuna

TUNED = "tuned"
Parameters: TypeAlias = Mapping[str, float | str]  # dimension -> its value in a trial
_Entry = TypeVar("_Entry", Model, Dataset, Objective)


def tuned_point(suite: Suite, tune: Tune) -> Suite:
    """The suite at the one model, data set and objective that is tuned. Raises UserError where there are several."""
    mistakes: list[str] = []
    models = _kept("model", suite.models, tune, mistakes)
    datasets = _kept("dataset", suite.datasets, tune, mistakes)
    objectives = _kept("objective", suite.objectives, tune, mistakes)
    if mistakes:
        raise UserError(*mistakes)
    point = {"models": models, "datasets": datasets, "objectives": objectives}
    recipes = _recipes(suite, models[0].name, datasets[0].name, objectives[0])
    return suite.model_copy(update={**point, **recipes, "claims": [], "exclude": [], "tune": None})


def _kept(axis: str, entries: list[_Entry], tune: Tune, mistakes: list[str]) -> list[_Entry]:
    """The one entry of an axis that is tuned; another number of them adds a mistake."""
    names = [entry.name for entry in entries]
    wanted = tune.at.get(axis)
    kept = [entry for entry in entries if wanted in (None, entry.name)]
    if len(kept) != 1:
        what = f"no {axis} {wanted!r}" if wanted else f"the suite has {len(names)} {axis}s"
        mistakes.append(f"tune.at: {what}; name one {axis} of {', '.join(names)}")
    return kept


def _recipes(suite: Suite, model: str, dataset: str, objective: Objective) -> dict[str, object]:
    """train and warmup with what the overrides say of this point; those by gate or seed stay overrides."""
    axes = {"model": model, "dataset": dataset, "objective": objective.name, "loss": objective.loss,
            "warmup": objective.warmup}  # fmt: skip
    train, warmup, left = suite.train, suite.warmup, []
    for override in suite.overrides:
        here = {axis: wanted for axis, wanted in override.where.items() if axis in axes}
        more = {axis: wanted for axis, wanted in override.where.items() if axis not in axes}
        if matches(here, axes) and more:
            left.append(override.model_copy(update={"where": more}))
        elif matches(here, axes):
            train, warmup = replace(train, **override.train), replace(warmup, **override.warmup)
    return {"train": train, "warmup": warmup, "overrides": left}


def gate_to_tune(suite: Suite, tune: Tune) -> GateAxis:
    """The gate whose numbers are searched; its kind and side where the space does not say otherwise."""
    gates = [gate for gate in suite.gates if gate.kind not in (UNGATED, *CONTROLS, *REWEIGHTERS)]
    found = [gate for gate in gates if tune.gate in (None, gate.name)]
    if len(found) != 1:
        names = ", ".join(gate.name for gate in gates) or "none"
        raise UserError(f"tune.gate: expected one gate of this suite that is no control; it has: {names}")
    return found[0]


def dimensions(suite: Suite, tune: Tune) -> dict[str, Dimension]:
    """What is searched, with the defaults for what the block leaves open: kappa = alpha * tau, and tau by percentile
    of the warm-up's rejected probabilities, both free of the model's scale; beta and learning rate around theirs."""
    said = dict(tune.space)
    if tune.over == "objective":
        if said:
            return said
        rate, objective = suite.train.learning_rate, suite.objectives[0]
        found: dict[str, Dimension] = {RATE: Range(low=rate / 10, high=rate * 3, log=True)}
        loss = get_loss(objective.loss)
        beta = loss.beta(loss.make_parameters(**objective.parameters))
        if beta is not None and not any(isinstance(own, dict) for own in objective.parameters.values()):
            usual = 0.01 <= beta <= 1
            found["beta"] = Range(low=0.01 if usual else beta / 10, high=1 if usual else beta * 10, log=True)
        return found
    if not said.keys() & {"kappa", "alpha"}:
        said["kappa"] = Range(low=0.5, high=20, log=True)
    if not said.keys() & {"percentile", "tau"}:
        said["percentile"] = Range(low=1, high=90)
    return said


def suggest(trial: optuna.Trial, space: Mapping[str, Dimension]) -> dict[str, float | str]:
    """The numbers of a trial; of a range three significant digits, so that equal trials can be told."""
    found: dict[str, float | str] = {}
    for name, dimension in space.items():
        if isinstance(dimension, Range):
            found[name] = rounded(trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log))
        else:
            found[name] = cast("float | str", trial.suggest_categorical(name, dimension))  # one of the dimension's
    return found


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def trial_suite(suite: Suite, tune: Tune, parameters: Parameters) -> Suite:
    """The suite of one trial: one model, data set, objective and gate, the trial's seeds."""
    at = tuned_point(suite, tune)
    gate = GateAxis(kind="none") if tune.over == "objective" else tuned_gate(at, tune, parameters)
    gates = [gate.model_copy(update={"name": gate.kind})]
    return with_objective(at, _of_objective(tune, parameters)).model_copy(update={"gates": gates, "seeds": tune.seeds})


def tuned_gate(suite: Suite, tune: Tune, parameters: Parameters) -> GateAxis:
    """The gate with a trial's numbers; kappa stays in it as such, so that the gate can be carried to another scale."""
    gate = gate_to_tune(suite, tune)
    kind, side = parameters.get("kind", gate.kind), parameters.get("side", gate.side)
    tau = f"q{parameters['percentile']:g}" if "percentile" in parameters else parameters["tau"]
    alpha = parameters.get("alpha") or f"{parameters['kappa']:g}/tau"
    return gate.model_copy(update={"name": TUNED, "kind": kind, "side": side, "alpha": alpha, "tau": tau})


def _of_objective(tune: Tune, parameters: Parameters) -> Parameters:
    """A trial's numbers that are the objective's and not a gate's."""
    return {name: value for name, value in parameters.items() if name not in tune.of_gates}


def with_objective(suite: Suite, numbers: Parameters) -> Suite:
    """The suite with numbers of its objective: its learning rate, and what is its loss's."""
    (objective,) = suite.objectives
    update: dict[str, object] = {"objectives": [_with_numbers(objective, objective.name, numbers)]}
    if RATE in numbers:
        update["train"] = replace(suite.train, learning_rate=float(numbers[RATE]))
        kept = ({key: value for key, value in o.train.items() if key != RATE} for o in suite.overrides)
        update["overrides"] = [
            o.model_copy(update={"train": train}) for o, train in zip(suite.overrides, kept, strict=True)
        ]
    return suite.model_copy(update=update)


def best_suite(
    suite: Suite,
    tune: Tune,
    best: Parameters,
    fair: Parameters | None,
    tuned_on: int,
    rivals: Mapping[str, Parameters] = MappingProxyType({}),
) -> dict[str, Any]:
    """The raw suite file that judges the winner: ungated, the untuned gate and the tuned one at the suite's seeds, the
    fairly tuned ungated objective where there is one, and each tuned rival; on the probes that no trial saw."""
    at = tuned_point(suite, tune)
    (objective,) = at.objectives
    gates = [GateAxis(kind="none")]
    if tune.over == "gates":
        gates += [gate_to_tune(suite, tune), tuned_gate(at, tune, best)]
    raw = at.model_dump(mode="json", exclude_defaults=True, exclude={"tune", "claims", "exclude", "overrides"})
    objectives, overrides, exclude = [objective], [o.model_dump(mode="json") for o in at.overrides], []
    own = _of_objective(tune, best)
    tuned = [(objective, f"{objective.name}_tuned", own, tune.over == "objective")] if own else []
    if fair:
        tuned.append((objective, f"{objective.name}_fair", fair, True))
    for name, numbers in rivals.items():
        theirs = tuned_point(suite, tune.of_rival(name))
        tuned.append((theirs.objectives[0], f"{name}_tuned", numbers, True))
        overrides += _recipe_of(theirs, at, f"{name}_tuned")
    for entry, name, numbers, ungated in tuned:
        objectives.append(_with_numbers(entry, name, numbers))
        if RATE in numbers:
            overrides.append({"where": {"objective": name}, "train": {RATE: numbers[RATE]}})
        others = [g.name for g in gates if g.name != ("none" if ungated else TUNED)]
        exclude += [{"objective": name, "gate": others}] if others else []
    claims = _claims(objective.name, gates, fair is not None, bool(own), tune.maximize, list(rivals))
    evaluate: dict[str, object] = {"dynamics": {"probes": at.evaluate.dynamics.probes, "tuned_on": tuned_on}}
    if tune.of_answers and at.evaluate.generate:
        asked = asdict(at.evaluate.generate)
        evaluate["generate"] = {key: asked[key] for key in asked if key != "questions"} | {"stop": list(asked["stop"])}
    return {
        **raw, "name": f"{suite.name}_best", "models": [_dump(m) for m in at.models],
        "objectives": [_dump(o) for o in objectives], "gates": [_dump(g) for g in gates],
        "seeds": suite.seeds if isinstance(suite.seeds, list) else suite.seeds.model_dump(mode="json"),
        "overrides": overrides, "exclude": exclude, "evaluate": evaluate, "claims": claims,
    }  # fmt: skip


def _recipe_of(theirs: Suite, ours: Suite, name: str) -> list[dict[str, object]]:
    """What a rival's recipes, with the overrides of its own point, have other than ours, as an override by its name."""
    changed = {
        block: {key: value for key, value in asdict(getattr(theirs, block)).items()
                if getattr(getattr(ours, block), key) != getattr(getattr(theirs, block), key)}
        for block in ("train", "warmup")
    }  # fmt: skip
    return [{"where": {"objective": name}, **changed}] if any(changed.values()) else []


def _dump(entry: Model | GateAxis | Objective) -> dict[str, object]:
    found: dict[str, object] = {**entry.model_dump(mode="json", exclude_defaults=True), "name": entry.name}
    if isinstance(entry, Objective) and Objective.model_validate(found).warmup != entry.warmup:
        found["warmup"] = entry.warmup  # the field's default, and not this loss's
    return found


def _with_numbers(objective: Objective, name: str, numbers: Parameters) -> Objective:
    loss, parameters = objective.loss, objective.parameters
    for number, value in numbers.items():
        if number != RATE:
            loss, parameters = with_number(loss, parameters, number, value)
    return objective.model_copy(update={"name": name, "loss": loss, "parameters": parameters})


def _claims(
    plain: str, gates: list[GateAxis], fair: bool, retuned: bool, metrics: list[str], others: list[str]
) -> list[dict[str, object]]:
    """The gain of tuning in every metric that was tuned for, on probes that the tuning did not see."""
    tuned = f"{plain}_tuned" if retuned else plain
    if len(gates) == 1:
        ours, name, rivals = {"objective": tuned}, "the tuned loss", {"the untuned one": {"objective": plain}}
    else:
        ours, name = {"objective": tuned, "gate": TUNED}, "the tuned gate"
        rivals = {
            f"gate {gates[1].name}": {"objective": plain, "gate": gates[1].name},
            "no gate": {"objective": plain, "gate": "none"},
        }
        if fair:
            rivals["the tuned ungated loss"] = {"objective": f"{plain}_fair", "gate": "none"}
    rivals |= {f"the tuned {other}": {"objective": f"{other}_tuned", "gate": "none"} for other in others}
    return [
        {"name": f"{name} beats {rival} in {title(metric)}", "metric": metric,
         "contrast": {"cell": [dict(ours), dict(theirs)]}, "expect": "greater"}
        for rival, theirs in rivals.items() for metric in metrics
    ]  # fmt: skip
