"""The arguments of a gated training, in Python, on a command line and in a YAML file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any

from trl import DPOConfig

from gatebench.objectives.gates import BAND, Gate, band_of
from gatebench.objectives.mixes import name_of
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.registry import get_loss

LAYOUTS = ("trl", "one_row", "packed")
OF_LOSS_TYPE = (  # TRL's arguments that only its own loss_type reads
    "loss_type", "loss_weights", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef", "use_weighting",
)  # fmt: skip
OF_ANY_LOSS = ("beta", "label_smoothing", "discopop_tau")  # TRL's names of what losses of ours may have too


@dataclass(frozen=True)
class Gating:
    """What of a training is not TRL's: the gate, an objective in place of loss_type, and a layout of the rows."""

    gate: Gate = field(default_factory=Gate)
    loss: str | None = None
    loss_parameters: Mapping[str, object] = field(default_factory=dict)
    layout: str = "trl"


@dataclass
class GatedDPOConfig(DPOConfig):
    """TRL's DPOConfig with a gate, a choice of objective and a choice of layout.

    gate, gate_alpha, gate_tau, gate_side, gate_probability, gate_value, gate_of, gate_bound, gate_band: see
        gates.Gate; gate_of is the kind of the gate that a control refers to (it takes this gate_alpha and gate_tau,
        or gate_bound, or gate_band);
        a percentile gate_tau ("q50") is measured on the training pairs before the first step
    loss: a name of objectives.registry (dpo, dpop, simpo, trl:NAME, ...) or a weighted mix of them ({"dpo": 1, "nll":
        0.2}, on a command line dpo+0.2*nll), in place of TRL's loss_type; loss_parameters: its parameters. TRL's beta,
        label_smoothing and discopop_tau are those of the loss where it has them. A loss that reads no reference loads
        no reference model, unless the gate reads one; what TRL logs as rewards is then beta times the log-probs
    layout: "trl" is TRL's two rows a pair; "one_row" computes the prompt once (shared_prompt.py); "packed" is that with
        several pairs a row, for which a model with attn_implementation="flex_attention" skips what is masked

    On a command line a number may be written as such and loss_parameters as JSON. Raises ValueError for what makes no
    sense, and for arguments of TRL's that would not act beside `loss`.
    """

    # "| None" is how transformers' argument parser is told to leave a word a word; None is the default of Gate
    gate: str = field(
        default="none",
        metadata={"help": "Kind of the gate: none, seq, qNN, token, constant, shuffled, clip, humanline, rc."},
    )
    gate_alpha: float | str | None = field(
        default=100.0, metadata={"help": "Steepness: a number above 0, or K/tau for K divided by the threshold."}
    )
    gate_tau: float | str | None = field(
        default="q50", metadata={"help": "Threshold: a probability, or qNN, a percentile of the rejected ones."}
    )
    gate_side: str = field(default="both", metadata={"help": "Which rejected gradients are gated: both or down."})
    gate_probability: str = field(default="policy", metadata={"help": "Whose probability: policy or reference."})
    gate_value: float | None = field(
        default=None, metadata={"help": "Weight of a constant gate, in [0, 1], or an alpha of rc that stays."}
    )
    gate_of: str | None = field(default=None, metadata={"help": "Kind of the gate that a control refers to."})
    gate_bound: float | None = field(default=None, metadata={"help": "Size that clip cuts a rejected gradient to."})
    gate_band: list[float] | None = field(
        default=None, metadata={"help": "Log-ratios to the reference between which humanline learns from a token."}
    )
    loss: dict[str, float] | str | None = field(
        default=None, metadata={"help": "An objective of gatebench, or a mix as dpo+0.2*nll, in place of loss_type."}
    )
    loss_parameters: dict[str, object] | str | None = field(
        default_factory=dict, metadata={"help": "Parameters of `loss`; on a command line JSON: '{\"beta\": 0.2}'."}
    )
    layout: str = field(default="trl", metadata={"help": "Rows of a batch: trl, one_row or packed."})

    def __post_init__(self) -> None:
        self.gate_alpha, self.gate_tau = _number_or_word(self.gate_alpha), _number_or_word(self.gate_tau)
        if self.layout not in LAYOUTS:
            raise UnknownWord("layout", self.layout, LAYOUTS)
        self.to_gate()
        self.loss_parameters = _parameters(self.loss_parameters)
        if isinstance(self.loss, Mapping):
            self.loss = name_of(self.loss)
        super().__post_init__()
        if self.loss is not None:
            self._settle_loss(self.loss, self.loss_parameters)
        elif self.loss_parameters:
            raise ValueError(f"loss_parameters {self.loss_parameters} belong to no loss; say which, e.g. loss='dpo'")

    def _settle_loss(self, name: str, given: dict[str, object]) -> None:
        """Let TRL's arguments act on the loss or refuse them; TRL's own beta, for its metrics, becomes the loss's."""
        loss = get_loss(name)
        for argument, value in self._changed(OF_LOSS_TYPE).items():
            if given.get(argument) == value:
                continue
            raise ValueError(
                f"{argument}={value!r} is read by TRL's loss_type, which loss={name!r} replaces; leave out one of them"
            )
        for argument, value in self._changed(OF_ANY_LOSS).items():
            if argument not in loss.known:
                raise ValueError(f"loss {name} has no {argument}, so {argument}={value!r} would not act; leave it out")
            if given.setdefault(argument, value) != value:
                raise ValueError(
                    f"{argument}={value!r} and loss_parameters' {argument} {given[argument]!r} contradict each other"
                )
        parameters = loss.make_parameters(**given)
        beta = loss.beta(parameters)
        if beta is not None:
            self.beta = beta
        # what TRL's pass through the model is told: to keep what weights are made of, and how the reference is summed
        self.use_weighting = getattr(parameters, "use_weighting", False)
        self.ld_alpha = getattr(parameters, "ld_alpha", None)
        if loss.reference:
            return
        if self.sync_ref_model:
            raise ValueError(f"loss {name} reads no reference, so sync_ref_model=True would not act; leave it out")
        if not self.to_gate().reads_reference:
            self.precompute_ref_log_probs = True  # for which TRL loads no reference model; nothing is computed

    def _changed(self, names: tuple[str, ...]) -> dict[str, object]:
        """Those of TRL's arguments that are not at TRL's default."""
        own = {argument.name: argument for argument in dataclasses.fields(DPOConfig)}
        found = {}
        for name in names:
            make, value = own[name].default_factory, getattr(self, name)
            if value != (own[name].default if make is MISSING else make()):
                found[name] = value
        return found

    def to_gate(self) -> Gate:
        """The gate these arguments describe, with all its checks."""
        alpha = Gate.alpha if self.gate_alpha is None else self.gate_alpha
        tau = Gate.tau if self.gate_tau is None else self.gate_tau
        band = BAND if self.gate_band is None else band_of(self.gate_band)

        def made(kind: str, side: str, value: float | None) -> Gate:
            return Gate(kind, alpha, tau, side, self.gate_probability, value, None, self.gate_bound, band)

        if self.gate_of is None:
            return made(self.gate, self.gate_side, self.gate_value)
        of = made(self.gate_of, Gate.side, None)
        return Gate(self.gate, alpha, tau, self.gate_side, self.gate_probability, self.gate_value, of)

    def to_gating(self) -> Gating:
        loss = name_of(self.loss) if isinstance(self.loss, Mapping) else self.loss
        return Gating(self.to_gate(), loss, _parameters(self.loss_parameters), self.layout)

    @classmethod
    def of_gate(cls, gate: Gate, **arguments: Any) -> GatedDPOConfig:
        """The arguments that describe a gate, beside others: of_gate(g).to_gate() == g."""
        source = gate.source
        return cls(
            gate=gate.kind, gate_alpha=source.alpha, gate_tau=source.tau, gate_side=gate.side,
            gate_probability=source.probability, gate_value=gate.value, gate_of=gate.of.kind if gate.of else None,
            gate_bound=source.bound, gate_band=None if source.band == BAND else list(source.band),
            **arguments,
        )  # fmt: skip


def _number_or_word(given: float | str | None) -> float | str | None:
    """A command line has words only."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


def _parameters(given: Mapping[str, object] | str | None) -> dict[str, object]:
    try:
        found = json.loads(given) if isinstance(given, str) else given or {}
        if isinstance(found, Mapping):
            return dict(found)
    except json.JSONDecodeError:
        pass
    raise ValueError(f"loss_parameters {given!r} are no mapping; write them as JSON: '{{\"beta\": 0.2}}'")
