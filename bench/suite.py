"""The suite file: its schema, its profiles and its errors (every one at once, each with file, line and key)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from bench.claims import Claim
from bench.data.source import TOOLBOX
from bench.errors import UserError, at
from bench.models.ladder import NAMES, PREFIX
from bench.models.source import Adapter
from bench.recipes import Base, Count, Dynamics, Generate, Judge, LmEval, Positive, Train, Warmup
from bench.strict import Strict
from bench.tune.block import Tune
from objectives.gates import Gate, kappa_of, percentile_of
from objectives.words import UnknownWord, nearest

WARMUPS = ("sft", "extended_sft", "none")


def _named(value: Any, key: str = "path") -> Any:
    return {key: value} if isinstance(value, str) else value


class Model(Strict):
    """A model: hub id, local folder, or builtin:ladder/FAMILY-SIZE."""

    path: str
    name: str = ""
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    adapter: Adapter | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        value = _named(value)
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            value = {"name": value["path"].rstrip("/").split("/")[-1], **value}
        return value

    @model_validator(mode="after")
    def _known(self) -> Model:
        if self.path.startswith(PREFIX.split("/")[0]) and self.path not in NAMES:
            raise UnknownWord("built-in model", self.path, NAMES)
        return self


class Dataset(Strict):
    """Preference pairs: builtin:toolbox, a local file or folder, or a hub name."""

    path: str
    name: str = ""
    subset: str | None = None
    revision: str | None = None
    train: Count | None = None
    test: Count | None = None
    test_path: str | None = None
    probes: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    max_dropped: Annotated[float, Field(ge=0, le=1)] = 0.05

    @model_validator(mode="before")
    @classmethod
    def _name(cls, value: Any) -> Any:
        value = _named(value)
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            value = {"name": value["path"].rstrip("/").split("/")[-1].split(":")[-1].split(".")[0], **value}
        return value

    @model_validator(mode="after")
    def _known(self) -> Dataset:
        if self.path.startswith("builtin:") and self.path != TOOLBOX:
            raise UnknownWord("built-in data set", self.path, [TOOLBOX])
        return self


class Objective(Strict):
    """A warm-up and a loss with its parameters."""

    name: str
    loss: str
    warmup: Literal["sft", "extended_sft", "none"] = "sft"
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if value.get("name") == "extended_sft":
            value = {"warmup": "extended_sft", "loss": "dpo", **value}
        name = value.setdefault("name", value.get("loss"))
        value.setdefault("loss", name)
        own = {key: value.pop(key) for key in list(value) if key not in cls.model_fields}
        return {**value, "parameters": {**value.get("parameters", {}), **own}}

    @model_validator(mode="after")
    def _known(self) -> Objective:
        # the registry needs torch, which `bench plan` of a mistyped file should not wait for
        from objectives.registry import get_loss, losses

        if self.loss not in losses():
            raise UnknownWord("objective", self.loss, [*losses(), "extended_sft"])
        get_loss(self.loss).make_parameters(**self.parameters)
        return self


class GateAxis(Strict):
    """A gate: a kind with alpha and tau, or a control of another gate (`of`: a gate of this suite)."""

    kind: str
    name: str = ""
    alpha: Positive | str = 100.0
    tau: float | str = "q50"
    side: Literal["both", "down"] = "both"
    probability: Literal["policy", "reference"] = "policy"
    value: Annotated[float, Field(ge=0, le=1)] | None = None
    of: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if value is None:  # YAML reads an unquoted `none` as text, but `null` and ~ mean the same to a user
            value = "none"
        value = _named(value, "kind")
        return {"name": value.get("kind", ""), **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _known(self) -> GateAxis:
        Gate(kind=self.kind) if self.kind not in ("constant", "shuffled") else None
        if isinstance(self.alpha, str):
            kappa_of(self.alpha)
        if isinstance(self.tau, str):
            percentile_of(self.tau)
        elif not 0 <= self.tau <= 1:
            raise ValueError(f"tau {self.tau:g} is not a probability; write one in [0, 1], or qNN for a percentile")
        return self


class Evaluate(Strict):
    dynamics: Dynamics = Dynamics()
    generate: Generate | None = None
    lm_eval: LmEval | None = None
    judge: Annotated[Judge, BeforeValidator(lambda value: _named(value, "kind"))] | None = None

    @model_validator(mode="after")
    def _judged(self) -> Evaluate:
        if self.judge and not self.generate:
            raise ValueError("judge compares answers; give the suite evaluate.generate as well")
        return self


class Override(Strict):
    """Other recipe values for the cells that `where` names."""

    where: dict[str, Any]
    train: dict[str, Any] = Field(default_factory=dict)
    warmup: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Override:
        for block, schema in ((self.train, Train), (self.warmup, Warmup)):
            for key in block:
                known = [field.name for field in dataclasses.fields(schema)]
                if key not in known:
                    raise UnknownWord("key", key, known)
        return self


class Suite(Strict):
    """One YAML file: axes, training recipe, evaluation, claims."""

    name: str
    models: Annotated[list[Model], Field(min_length=1)]
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    objectives: Annotated[list[Objective], Field(min_length=1)]
    gates: Annotated[list[GateAxis], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1, default_factory=lambda: [0])]
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    overrides: list[Override] = Field(default_factory=list)
    base: Base = Base()
    warmup: Warmup = Warmup()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    claims: list[Claim] = Field(default_factory=list)
    tune: Tune | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        for axis in ("models", "datasets", "objectives", "gates"):
            names = [entry.name for entry in getattr(self, axis)]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{axis}: the name {min(twice)!r} stands twice; give one of them another `name`")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed stands twice")
        for gate in self.gates:
            self.gate(gate)
        for where in [*self.exclude, *(override.where for override in self.overrides)]:
            self._check_where(where)
        for claim in self.claims:
            for side in (side for pair in claim.contrast.sides() for side in pair):
                self._check_where(side, f"claim {claim.name!r}")
        return self

    def _check_where(self, where: Mapping[str, Any], place: str = "where") -> None:
        values: dict[str, list[Any]] = {
            "model": [m.name for m in self.models], "dataset": [d.name for d in self.datasets],
            "objective": [o.name for o in self.objectives], "loss": [o.loss for o in self.objectives],
            "warmup": list(WARMUPS), "gate": [g.name for g in self.gates], "seed": self.seeds,
        }  # fmt: skip
        for key, wanted in where.items():
            if key not in values:
                raise UnknownWord("axis", key, values)
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if value not in values[key]:
                    raise ValueError(
                        f"{place}: no {key} {value!r} in this suite; {nearest(str(value), map(str, values[key]))}"
                    )

    def gate(self, axis: GateAxis) -> Gate:
        """The gate of an axis entry, with the gate that a control refers to."""
        of = None
        if axis.of is not None:
            found = [gate for gate in self.gates if gate.name == axis.of]
            if not found:
                raise ValueError(
                    f"gate {axis.name}: of: no gate {axis.of!r}; {nearest(axis.of, [g.name for g in self.gates])}"
                )
            of = self.gate(found[0])
        return Gate(axis.kind, axis.alpha, axis.tau, axis.side, axis.probability, axis.value, of)


def load_suite(file: Path, profile: str | None = None, settings: Mapping[str, Any] | None = None) -> Suite:
    """Read, overlay and validate a suite file.

    settings: dotted keys over the file's ("train.learning_rate": 1e-6). Raises UserError with every
    mistake, each with file, line, key and the nearest valid word.
    """
    raw, lines = _read(file)
    profiles = raw.pop("profiles", {}) or {}
    if profile is not None:
        if profile not in profiles:
            raise UserError(
                f"{file}: profiles: no profile {profile!r}; "
                + (nearest(profile, profiles) if profiles else "the suite has none")
            )
        raw = _overlay(raw, profiles[profile])
        lines = {**lines, **{key[2:]: line for key, line in lines.items() if key[:2] == ("profiles", profile)}}
    for key, value in (settings or {}).items():
        raw = _overlay(raw, _nested(key, value))
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise UserError(*(_sentence(file, lines, problem) for problem in error.errors())) from None


def profiles_of(file: Path) -> list[str]:
    """The names of a suite's profiles."""
    return list(_read(file)[0].get("profiles") or {})


def _read(file: Path) -> tuple[dict[str, Any], dict[tuple[Any, ...], int]]:
    """The raw mapping of a suite file and the line of each of its keys."""
    if not file.exists():
        others = [path.name for path in file.parent.glob("*.yaml")] if file.parent.exists() else []
        raise UserError(f"{file}: no such suite file" + (f"; {nearest(file.name, others)}" if others else ""))
    text = file.read_text(encoding="utf-8")
    try:
        raw, lines = yaml.safe_load(text), _lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise UserError(
            f"{at(file, mark.line + 1 if mark else None)} not YAML ({getattr(error, 'problem', error)})"
        ) from None
    if not isinstance(raw, dict):
        raise UserError(f"{file}: expected a mapping with name, models, datasets, objectives and gates")
    return raw, lines


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """above over below; mappings are merged, everything else replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _lines(node: yaml.Node | None, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], int]:
    """The line of every key and list item of a YAML document."""
    found: dict[tuple[Any, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found[(*path, key.value)] = key.start_mark.line + 1
            found |= _lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            found[(*path, index)] = item.start_mark.line + 1
            found |= _lines(item, (*path, index))
    return found


def _sentence(file: Path, lines: Mapping[tuple[Any, ...], int], problem: Mapping[str, Any]) -> str:
    location = tuple(part for part in problem["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    known = location
    while known and known not in lines:
        known = known[:-1]
    key = ".".join(map(str, location))
    place = at(file, lines.get(known), key).removesuffix(":")  # without a key it ends in a colon
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{place}: unknown key; {nearest(str(location[-1]), _keys_at(location[:-1]))}"
    if problem["type"] == "missing":
        return f"{place}: missing; this key is required"
    given = problem.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float) else ""
    return (
        f"{place}: {problem['msg'].removeprefix('Value error, ')}{shown if 'Value error' not in problem['msg'] else ''}"
    )


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """The valid keys of the block at a location of the schema."""
    schema: Any = Suite
    for part in location:
        if isinstance(part, int):
            continue
        hint = get_type_hints(schema).get(part) if isinstance(schema, type) else None
        options = [hint, *get_args(hint), *(inner for outer in get_args(hint) for inner in get_args(outer))]
        schema = next((option for option in options if _is_block(option)), None)
    if schema is None:
        return []
    return list(schema.model_fields) if issubclass(schema, BaseModel) else [f.name for f in dataclasses.fields(schema)]


def _is_block(option: Any) -> bool:
    return isinstance(option, type) and (issubclass(option, BaseModel) or dataclasses.is_dataclass(option))
