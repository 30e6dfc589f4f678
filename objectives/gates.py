"""The gate: probability -> weight -> gated log-prob (Gate-DPO, arXiv 2605.02626, eq. 6-8).

A gate scales the gradient that reaches the rejected log-prob and nothing else: the loss value and
the chosen side's gradient stay those of the ungated objective, so any objective can be gated and no
objective knows that a gate exists.

    p = probability(kind, log_probs, mask)      one function computes p
    g = weight(p, alpha, tau)                   one computes g
    gated = apply_gate(log_probs, g, side)      one applies it
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from gatebench.objectives import controls
from gatebench.objectives.controls import Field
from gatebench.objectives.entry_points import with_third_parties
from gatebench.objectives.names import UnknownWord

UNGATED = "none"  # the kind, never a name
KINDS = (UNGATED, "seq", "qNN", "token", "constant", "shuffled")
CONTROLS = ("constant", "shuffled")
Side = Literal["both", "down"]
Whose = Literal["policy", "reference"]
SIDES, PROBABILITIES = get_args(Side), get_args(Whose)
Probability = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Gate:
    """What scales the rejected-term gradient. Everywhere a gate is written (a suite, a TRL script), this is it.

    kind:  "none"; "seq" (geometric-mean token probability); "qNN" (NN-th percentile of the token
           probabilities, the paper's is q10); "token" (a weight a token); a third party's name; or a
           control: "constant" (g = value, or the mean of gate `of` over the effective batch) and "shuffled"
           (the weights of gate `of`, permuted over the pairs of the effective batch); controls.py has the
           definition, which does not depend on how a batch is cut into micro-batches and processes
    tau:   the threshold, a probability in [0, 1] or "qNN", a percentile of the warm-up policy's rejected
           probabilities, to be resolved before training
    alpha: steepness, per unit of probability, above 0; "K/tau" resolves to K divided by tau. With a percentile
           tau it makes a gate without units: the same at every scale of probability
    side:  "both" gates every rejected gradient; "down" only those that push the response down
    probability: of the "policy" in training or of the frozen "reference"

    Gates that act alike are equal: of a control the alpha, tau and probability of `of` count, its own do not.
    Raises ValueError for what makes no sense, with the word or number and what was expected.
    """

    kind: str = UNGATED
    alpha: float | str = 100.0
    tau: float | str = "q50"
    side: str = "both"
    probability: str = "policy"
    value: float | None = None
    of: Gate | None = None

    def __post_init__(self) -> None:
        known_kind(self.kind)
        for what, word, known in (("side", self.side, SIDES), ("probability", self.probability, PROBABILITIES)):
            if word not in known:
                raise UnknownWord(f"gate_{what}", word, known)
        self._check_numbers()
        self._check_control()

    def _check_numbers(self) -> None:
        if isinstance(self.alpha, str):
            kappa_of(self.alpha)
        elif not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ValueError(f"alpha {self.alpha:g} does not make a gate; write a number above 0, or 5/tau")
        if isinstance(self.tau, str):
            percentile_of(self.tau)
        elif not 0 <= self.tau <= 1:
            raise ValueError(f"tau {self.tau:g} is not a probability; write one in [0, 1], or qNN for a percentile")
        if self.value is not None and not 0 <= self.value <= 1:
            raise ValueError(f"value {self.value:g} is no weight; write one in [0, 1]")

    def _check_control(self) -> None:
        if self.kind == "shuffled" and self.of is None:
            raise ValueError("gate shuffled needs `of`, the gate whose weights are permuted")
        if self.kind == "constant" and (self.value is None) == (self.of is None):
            raise ValueError("gate constant needs either `value` or `of`, the gate whose mean it takes")
        for name, given, owners in (("of", self.of, CONTROLS), ("value", self.value, CONTROLS[:1])):
            if given is not None and self.kind not in owners:
                raise ValueError(f"gate {self.kind} has no `{name}`; it belongs to {' and '.join(owners)}")
        if self.of is not None and self.of.kind in (UNGATED, *CONTROLS):
            raise ValueError(f"gate {self.kind}: `of` must be a selective gate, not {self.of.kind}")

    @property
    def acts(self) -> tuple[object, ...]:
        """What of the gate has an effect."""
        if self.kind == UNGATED:
            return (self.kind,)
        if self.value is not None:
            return (self.kind, self.side, self.value)
        source = self.source
        return (self.kind, self.side, source.kind, source.alpha, source.tau, source.probability)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gate) and self.acts == other.acts

    def __hash__(self) -> int:
        return hash(self.acts)

    @property
    def source(self) -> Gate:
        """The gate whose probabilities count: itself, or the one a control refers to."""
        return self.of or self

    @property
    def reads_rejected(self) -> bool:
        """Whether the weights follow from what the rejected responses are to a policy, on which thresholds are measured
        and judged."""
        return self.kind != UNGATED and self.value is None

    @property
    def is_resolved(self) -> bool:
        """Whether the weights follow from numbers alone: alpha and tau, where they count."""
        if self.kind == UNGATED or self.value is not None:
            return True
        return not isinstance(self.source.tau, str) and not isinstance(self.source.alpha, str)


def percentile_of(word: str) -> float:
    """ "q50" -> 0.5. Raises ValueError for anything that is not q0 ... q100."""
    match = re.fullmatch(r"q(\d{1,2}(?:\.\d+)?|100)", word)
    if match is None:
        raise ValueError(f"{word!r} is not a percentile; write q50 for the median")
    return float(match.group(1)) / 100


def kappa_of(word: str) -> float:
    """ "5/tau" -> 5.0. Raises ValueError for anything that is not a positive number over tau."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*/\s*tau", word)
    if match is None or float(match.group(1)) <= 0:
        raise ValueError(f"{word!r} is no alpha; write a number, or 5/tau for five divided by the threshold")
    return float(match.group(1))


def third_parties() -> dict[str, Probability]:
    """Probability functions of other packages, by the name of their gate (entry points of `gatebench.gates`)."""
    ours: dict[str, Probability] = dict.fromkeys(KINDS, sequence_probability)  # no name of ours may be taken
    return {name: found for name, found in with_third_parties("gatebench.gates", ours).items() if name not in KINDS}


def known_kind(kind: str) -> None:
    """Raise UnknownWord unless `kind` names a gate."""
    if (kind in KINDS and kind != "qNN") or re.fullmatch(r"q\d{1,2}", kind):
        return
    others = third_parties()
    if kind not in others:
        raise UnknownWord("gate kind", kind, [*KINDS, "q10", *others])


def sequence_probability(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Geometric-mean token probability exp(sum log p / n): [B, T], [B, T] -> [B]."""
    tokens = mask.sum(dim=1)
    return torch.exp(log_probs.masked_fill(mask == 0, 0.0).sum(dim=1) / tokens.clamp(min=1))


def quantile_probability(log_probs: Tensor, mask: Tensor, quantile: float) -> Tensor:
    """Quantile of the token probabilities, interpolated linearly in p: -> [B]; NaN if no token."""
    probabilities = torch.exp(log_probs).masked_fill(mask == 0, torch.nan)
    return torch.nanquantile(probabilities, quantile, dim=1)


def probability(kind: str, log_probs: Tensor, mask: Tensor) -> Tensor:
    """p of the rejected responses under one gate kind.

    log_probs, mask: [B, T] token log-probs and response positions. Returns float32, detached, [B]
    (or [B, T] for "token"). A response without a token has p = NaN, which `weight` turns into g = 1.
    """
    log_probs, mask = log_probs.detach().float(), mask.bool()
    if kind == "token":
        return torch.exp(log_probs)
    if kind == "seq":
        p = sequence_probability(log_probs, mask)
    elif re.fullmatch(r"q\d{1,2}", kind):
        p = quantile_probability(log_probs, mask, percentile_of(kind))
    else:
        known_kind(kind)
        p = third_parties()[kind](log_probs, mask)
    return p.masked_fill(mask.sum(dim=1) == 0, torch.nan)


def counted_probabilities(kind: str, log_probs: Tensor, mask: Tensor) -> Tensor:
    """`probability` as one vector: of every response [B], or of every response token [N]."""
    p = probability(kind, log_probs, mask)
    return p[mask.bool()] if p.dim() == 2 else p


def weight(p: Tensor, alpha: float, tau: float) -> Tensor:
    """g = sigmoid(alpha (p - tau)), detached; where p is NaN (no token to gate), g = 1."""
    return torch.sigmoid(alpha * (p.detach() - tau)).nan_to_num(nan=1.0)


def apply_gate(log_probs: Tensor, g: Tensor, side: str = "both") -> Tensor:
    """The same values, bit for bit, with the gradient scaled by g.

    By a hook on the gradient: g x + (1 - g) x.detach() drifts by 3e-5 in float32, and x.detach() + g (x - x.detach())
    makes NaN of a log-prob of -inf. side "down" scales only gradients that lower x (dL/dx > 0).
    """
    gated = log_probs.view_as(log_probs)
    if gated.requires_grad:
        gated.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: g * gradient if side == "both" else torch.where(gradient > 0, g * gradient, gradient)
        )
    return gated


def weights(
    gate: Gate,
    log_probs: Tensor,
    mask: Tensor,
    generator: torch.Generator | None = None,
    field: Field | None = None,
    micro: int = 0,
) -> Tensor:
    """The weights of one micro-batch: [B], or [B, T] for token gates; float32, detached.

    log_probs, mask: [B, T] of the rejected responses, under the policy or, for a gate with
    probability "reference", under the reference. generator: the permutation of a shuffled gate, begun anew for each
    micro-batch of a step. field, micro: what a control with `of` draws on, and which of its micro-batches this is; by
    default this one is the whole of it.
    Raises ValueError when tau or alpha is not yet a number.
    """
    ones = torch.ones(log_probs.shape[0], device=log_probs.device)
    if gate.kind == UNGATED:
        return ones
    if gate.value is not None and gate.kind == "constant":
        return ones * gate.value
    source = gate.source
    if isinstance(source.tau, str) or isinstance(source.alpha, str):
        raise ValueError(f"tau {source.tau!r}, alpha {source.alpha!r}: resolve them with `resolve` before training")
    g = weight(probability(source.kind, log_probs, mask), source.alpha, source.tau)
    if gate.of is None:
        return g
    field = field or controls.make_field([[controls.per_pair(g, mask)]], 0)
    if gate.kind == "constant":
        return controls.constant(field, len(g))
    return controls.shuffled(field, micro, g, mask, generator)


def quantiles(values: Tensor, levels: Sequence[float]) -> list[float]:
    """Interpolated linearly, of any number of values, any shape; NaN is left out, and is the result where all are.

    torch.quantile refuses more than 2^24, which the response tokens of a large data set are.
    """
    values = values.float().flatten()
    values = values[~values.isnan()].sort().values
    if not values.numel():
        return [math.nan for _ in levels]
    ranks = [level * (values.numel() - 1) for level in levels]
    pairs = [(values[math.floor(rank)], values[math.ceil(rank)], rank % 1) for rank in ranks]
    return [float(torch.lerp(below, above, share)) for below, above, share in pairs]


def resolve_thresholds(gate: Gate, p: Tensor) -> Gate:
    """Replace a percentile tau by its probability, the quantile of p, and alpha "K/tau" by its number.

    p: the warm-up policy's rejected probabilities on the training pairs, [N] (or any shape; NaN ignored).
    Raises ValueError where alpha would have to be divided by a tau of 0, or where no p is a number.
    """
    if gate.of is not None:
        return replace(gate, of=resolve_thresholds(gate.of, p))
    tau, alpha = gate.tau, gate.alpha
    if isinstance(tau, str):
        (tau,) = quantiles(p, [percentile_of(tau)])
        if math.isnan(tau):
            raise ValueError(
                f"gate {gate.kind}: tau {gate.tau} cannot be measured, as no rejected response has a probability: they "
                "are empty, or the model's log-probs are no numbers; look at both, or give tau as a number"
            )
    if isinstance(alpha, str):
        if tau <= 0:
            raise ValueError(f"gate {gate.kind}: alpha {alpha} has no value where tau ({gate.tau}) is {tau:g}")
        alpha = kappa_of(alpha) / tau
    return replace(gate, tau=tau, alpha=alpha)


def constant_caution(gate: Gate, p: Tensor) -> str | None:
    """A sentence when alpha times the measured range of p makes the gate a constant, else None.

    p: the warm-up policy's rejected probabilities on the training pairs, any shape; tau resolved.
    """
    source = gate.source
    if source.kind in (UNGATED, *CONTROLS) or isinstance(source.tau, str) or isinstance(source.alpha, str):
        return None
    bounds = quantiles(p, (0.05, 0.95))
    low, high = weight(torch.tensor(bounds), source.alpha, source.tau).tolist()
    if high - low >= 0.05:
        return None
    return (
        f"gate {source.kind}: alpha {source.alpha:g} with tau {source.tau:.3g} is nearly a constant on this "
        f"data: the rejected probabilities run from {bounds[0]:.3g} to {bounds[1]:.3g} (5-95 %), so g from "
        f"{low:.3g} to {high:.3g}. Raise alpha, or move tau into that range."
    )
