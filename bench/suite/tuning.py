"""The `tune:` block of a suite: what is searched, at which point, for what, at which budget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from gatebench.bench.metrics import registry
from gatebench.bench.metrics.answers import ANSWERS
from gatebench.bench.suite.losses import numbers_of, with_number
from gatebench.bench.suite.recipes import Count, Positive
from gatebench.bench.suite.strict import Strict
from gatebench.objectives.gates import known_kind
from gatebench.objectives.names import UnknownWord

PARETO = ("delta_chosen", "margin")  # Δ chosen alone rewards a gate that is shut
OF_GATES = ("kappa", "alpha", "tau", "percentile", "kind", "side")
RATE = "learning_rate"  # beside the parameters of a loss, a number of its training
CHOICES = ("kind", "side")
EXAMPLES = {"kind": ("seq", "q10"), "side": ("both", "down")}


class Range(Strict):
    """Numbers from low to high, both included; log: searched on the logarithm."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: a logarithm needs a positive number")
        return self


Dimension = Range | list[float | str]


@dataclass(frozen=True)
class Bound:
    """A metric that has to be at least (or at most) a number."""

    metric: str
    at_least: bool
    value: float

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far the bound is missed; 0 or less where it holds."""
        gap = self.value - metrics[self.metric]
        return gap if self.at_least else -gap


def _check_value(name: str, value: float | str) -> None:
    if name == "kind":
        known_kind(str(value))
    elif name == "side" and value not in EXAMPLES["side"]:
        raise UnknownWord("side", str(value), EXAMPLES["side"])
    elif name not in CHOICES and isinstance(value, str):
        raise ValueError(f"space.{name}: {value!r} is no number")


def _space(value: object, place: str) -> object:
    """One sentence for a bad range, where a union of types would give one for each of them."""
    if not isinstance(value, dict):
        return value
    found = {}
    for name, dimension in value.items():
        try:
            found[name] = Range.model_validate(dimension) if isinstance(dimension, dict) else dimension
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, (place, name, *problem["loc"])))
            raise ValueError(f"{key}: {problem['msg'].removeprefix('Value error, ')}") from None
    return found


def check_space(
    space: Mapping[str, Dimension], of_gates: Sequence[str], losses: Sequence[tuple[str, Mapping[str, object]]]
) -> None:
    """Raise ValueError for a dimension, or a value of one, that none of these losses with their parameters has."""
    for name, dimension in space.items():
        if name in (*of_gates, RATE):
            continue
        own = [(loss, parameters) for loss, parameters in losses if name in numbers_of(loss)]
        if not own:
            known = dict.fromkeys([*of_gates, RATE, *(word for loss, _ in losses for word in numbers_of(loss))])
            raise UnknownWord("dimension", name, known)
        for loss, parameters in own:
            for value in dimension if isinstance(dimension, list) else (dimension.low, dimension.high):
                with_number(loss, parameters, name, value)


class Tune(Strict):
    """A search with Optuna over the numbers of a gate, or of the ungated objective.

    over: `gates`, or `objective` (the learning rate and any parameter of its loss, without a gate; of a mix also a
    part's name, for its weight). A search over gates may have these too, but for names that are a gate's.
    gate: the gate of the suite that is tuned, by default the only one that is no control. at: the point (model,
    dataset, objective) where the suite has several. maximize: one metric, or two for a Pareto front.
    probes: how many of the first probes a trial is judged on, by default half of them; the rest judges the winner. A
    metric of answers is of those to these probes' prompts, which are of training, by transformers.
    fair: search the ungated objective too, at the same budget. rivals: other objectives of the suite that are searched
    too, ungated, each at the same budget: their names, or a space by name. pruner: with two metrics, whichever it is, a
    trial ends at a rung where a completed one matched both.
    """

    over: Literal["gates", "objective"] = "gates"
    gate: str | None = None
    at: dict[str, str] = Field(default_factory=dict)
    space: dict[str, Dimension] = Field(default_factory=dict)
    trials: Count = 40
    hours: Positive | None = None
    maximize: Annotated[list[str], Field(min_length=1, max_length=2, default_factory=lambda: list(PARETO))]
    subject_to: dict[str, str] = Field(default_factory=dict)
    sampler: Literal["tpe", "gp", "nsga2", "random", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    seeds: Annotated[list[int], Field(min_length=1, default_factory=lambda: [0])]
    probes: Count | None = None
    fair: bool = False
    rivals: dict[str, dict[str, Dimension]] = Field(default_factory=dict)
    storage: str | None = None

    @field_validator("maximize", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("space", mode="before")
    @classmethod
    def _ranges(cls, value: object) -> object:
        return _space(value, "space")

    @field_validator("rivals", mode="before")
    @classmethod
    def _spaces(cls, value: object) -> object:
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        if not isinstance(value, dict):
            return value
        return {name: _space(space or {}, f"rivals.{name}") for name, space in value.items()}

    @model_validator(mode="after")
    def _known(self) -> Tune:
        for metric in (*self.maximize, *self.subject_to):
            if metric not in registry.tunable():
                raise UnknownWord("metric", metric, registry.tunable())
        for axis in self.at:
            if axis not in ("model", "dataset", "objective"):
                raise UnknownWord("axis", axis, ("model", "dataset", "objective"))
        for name, dimension in self.space.items():
            if name not in (*self.of_gates, RATE):
                continue  # of the loss, which the suite knows
            if name in CHOICES and isinstance(dimension, Range):
                raise ValueError(f"space.{name}: expected a list, as in [{', '.join(EXAMPLES[name])}]")
            for value in dimension if isinstance(dimension, list) else ():
                _check_value(name, value)
        for one, other in (("tau", "percentile"), ("alpha", "kappa")):
            if self.of_gates and one in self.space and other in self.space:
                raise ValueError(f"space: {one} and {other} are two ways to say one thing; keep one of them")
        if self.pruner == "hyperband" and len(self.maximize) > 1:
            raise ValueError("pruner hyperband compares one number; maximize one metric, or prune by median")
        if self.fair and self.over == "objective":
            raise ValueError("fair gives the ungated objective the gate's budget; over: objective searches it already")
        _ = self.bounds
        return self

    @property
    def of_answers(self) -> list[str]:
        """Its metrics that are of a model's answers, so that trials have to give some."""
        return [name for name in (*self.maximize, *self.subject_to) if registry.get_metric(name).source == ANSWERS]

    @property
    def of_gates(self) -> tuple[str, ...]:
        """Names of dimensions that are a gate's here, and not a loss's."""
        return OF_GATES if self.over == "gates" else ()

    def of_rival(self, name: str) -> Tune:
        """The search of a rival, at this one's budget."""
        return self._ungated(at={**self.at, "objective": name}, space=self.rivals[name])

    def of_ungated(self) -> Tune:
        """The search of the same objective without a gate, at this one's budget."""
        return self._ungated(space={})

    def _ungated(self, **changes: object) -> Tune:
        sampler = "tpe" if self.sampler == "grid" else self.sampler  # what is searched by default are ranges
        its: dict[str, object] = {"over": "objective", "gate": None, "fair": False, "rivals": {}, "sampler": sampler}
        return self.model_copy(update=its | changes)

    @property
    def bounds(self) -> list[Bound]:
        """What a trial has to keep, from `subject_to`."""
        found = []
        for metric, text in self.subject_to.items():
            match = re.fullmatch(r"\s*(>=|<=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*", text)
            if match is None:
                raise ValueError(f"subject_to.{metric}: {text!r} is no bound; write '>= 0.6' or '<= 2'")
            found.append(Bound(metric, match[1] == ">=", float(match[2])))
        return found
