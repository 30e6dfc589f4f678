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
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from gatebench.objectives import controls
from gatebench.objectives.controls import Field
from gatebench.objectives.entry_points import GATE_GROUP, with_third_parties
from gatebench.objectives.names import UnknownWord

UNGATED = "none"  # the kind, never a name
CLIP, HUMANLINE, RC = "clip", "humanline", "rc"
REWEIGHTERS = (CLIP, HUMANLINE, RC)  # reweighters.py has the definition of each
TWO_SIDED = (HUMANLINE, RC)
KINDS = (UNGATED, "seq", "qNN", "token", "constant", "shuffled", *REWEIGHTERS)
CONTROLS = ("constant", "shuffled")
CLOSED = 0.1  # a weight below which a gate is called closed
BAND = (-1.0, 1.5)  # ContextualAI/HALOs' log_epsilon_P and log_epsilon_R
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
           definition, which does not depend on how a batch is cut into micro-batches and processes; or one that has
           no probability and no threshold: "clip", "humanline", "rc"
    tau:   the threshold, a probability in [0, 1] or "qNN", a percentile of the warm-up policy's rejected
           probabilities, to be resolved before training
    alpha: steepness, per unit of probability, above 0; "K/tau" resolves to K divided by tau. With a percentile
           tau it makes a gate without units: the same at every scale of probability
    side:  "both" gates every rejected gradient; "down" only those that push the response down
    probability: of the "policy" in training or of the frozen "reference"
    value: the weight of a constant gate, in [0, 1]; of rc an alpha that stays as it is
    bound: of clip, the size |R| that the gradient of a pair's loss with respect to its rejected log-prob is cut to
    band: of humanline, the log-ratios to the reference, in nats a token, between which a token is learned from

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
    bound: float | None = field(default=None, metadata={"key": "given"})
    band: tuple[float, float] = field(default=BAND, metadata={"key": "given"})

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
        if self.value is not None and self.kind == RC:
            if not (self.value > 0 and math.isfinite(self.value)):
                raise ValueError(f"value {self.value:g} is no alpha of rc; write a number above 0")
        elif self.value is not None and not 0 <= self.value <= 1:
            raise ValueError(f"value {self.value:g} is no weight; write one in [0, 1]")
        if self.bound is not None and not (self.bound > 0 and math.isfinite(self.bound)):
            raise ValueError(f"bound {self.bound:g} is no size of a gradient; write a number above 0")
        low, high = self.band
        if not (math.isfinite(low) and math.isfinite(high) and low < 0 < high):
            raise ValueError(f"band [{low:g}, {high:g}] leaves no token; write a log-ratio below 0 and one above it")

    def _check_control(self) -> None:
        if self.kind == "shuffled" and self.of is None:
            raise ValueError("gate shuffled needs `of`, the gate whose weights are permuted")
        if self.kind == "constant" and (self.value is None) == (self.of is None):
            raise ValueError("gate constant needs either `value` or `of`, the gate whose mean it takes")
        for name, given, owners in (("of", self.of, CONTROLS), ("value", self.value, CONTROLS[:1])):
            if given is not None and self.kind not in owners and (name, self.kind) != ("value", RC):
                raise ValueError(f"gate {self.kind} has no `{name}`; it belongs to {' and '.join(owners)}")
        if self.of is not None and self.of.kind in (UNGATED, *CONTROLS):
            raise ValueError(f"gate {self.kind}: `of` must be a selective gate, not {self.of.kind}")
        if self.of is not None and self.of.kind == RC:
            raise ValueError(
                f"gate {self.kind}: rc gives all pairs of a step the same weights, so its {self.kind} is rc itself; "
                "for an alpha that stays as it is write kind rc with a `value`"
            )
        self._check_reweighter()

    def _check_reweighter(self) -> None:
        if self.kind == CLIP and self.bound is None:
            raise ValueError("gate clip needs `bound`, the size that the gradient of a rejected response is cut to")
        for name, given, owner in (("bound", self.bound is not None, CLIP), ("band", self.band != BAND, HUMANLINE)):
            if given and self.kind != owner:
                raise ValueError(f"gate {self.kind} has no `{name}`; it belongs to {owner}")
        if self.kind in REWEIGHTERS:
            for name in ("alpha", "tau", "probability"):
                if getattr(self, name) != getattr(Gate, name):
                    raise ValueError(f"gate {self.kind} has no `{name}`; it belongs to gates by a probability")
        if self.source.kind in TWO_SIDED and self.side != "both":
            raise ValueError(f"gate {self.kind}: {self.source.kind} acts on both responses; leave out side {self.side}")

    @property
    def acts(self) -> tuple[object, ...]:
        """What of the gate has an effect."""
        if self.kind == UNGATED:
            return (self.kind,)
        if self.value is not None:
            return (self.kind, self.side, self.value)
        source = self.source
        own: dict[str, tuple[object, ...]] = {CLIP: (source.bound,), HUMANLINE: source.band, RC: ()}
        numbers = own.get(source.kind, (source.alpha, source.tau, source.probability))
        return (self.kind, self.side, source.kind, *numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gate) and self.acts == other.acts

    def __hash__(self) -> int:
        return hash(self.acts)

    @property
    def source(self) -> Gate:
        """The gate whose probabilities count: itself, or the one a control refers to."""
        return self.of or self

    @property
    def compares(self) -> bool:
        """Whether its weights are those of a probability beside a threshold."""
        return self.kind != UNGATED and self.value is None and self.source.kind not in REWEIGHTERS

    @property
    def reads_reference(self) -> bool:
        """Whether its weights need the reference's log-probs of single tokens."""
        source = self.source
        return source.kind == HUMANLINE or (self.kind != UNGATED and source.probability == "reference")

    @property
    def is_resolved(self) -> bool:
        """Whether the weights follow from numbers alone: alpha and tau, where they count."""
        if not self.compares:
            return True
        return not isinstance(self.source.tau, str) and not isinstance(self.source.alpha, str)


def band_of(given: Sequence[float]) -> tuple[float, float]:
    """[LOW, HIGH] -> (low, high). Raises ValueError for anything but two numbers."""
    if len(given) != 2:
        raise ValueError(f"band {list(given)} is none; write two log-ratios in nats a token, as [-1.0, 1.5]")
    return float(given[0]), float(given[1])


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
    return {name: found for name, found in with_third_parties(GATE_GROUP, ours).items() if name not in KINDS}


def known_kind(kind: str) -> None:
    """Raise UnknownWord unless `kind` names a gate."""
    if (kind in KINDS and kind != "qNN") or re.fullmatch(r"q\d{1,2}", kind):
        return
    others = third_parties()
    if kind not in others:
        raise UnknownWord("gate kind", kind, [*KINDS, "q10", *others], GATE_GROUP)


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
    Raises ValueError when tau or alpha is not yet a number, and for a reweighter, whose weights need more than these.
    """
    ones = torch.ones(log_probs.shape[0], device=log_probs.device)
    if gate.kind == UNGATED:
        return ones
    if gate.value is not None and gate.kind == "constant":
        return ones * gate.value
    source = gate.source
    if source.kind in REWEIGHTERS:
        raise ValueError(f"the weights of {source.kind} do not follow from log-probs alone; reweighters.py has them")
    if isinstance(source.tau, str) or isinstance(source.alpha, str):
        raise ValueError(f"tau {source.tau!r}, alpha {source.alpha!r}: resolve them with `resolve` before training")
    g = weight(probability(source.kind, log_probs, mask), source.alpha, source.tau)
    return controlled(gate, g, mask, generator, field, micro)


def controlled(
    gate: Gate,
    g: Tensor,
    mask: Tensor,
    generator: torch.Generator | None = None,
    field: Field | None = None,
    micro: int = 0,
) -> Tensor:
    """What a control makes of the weights g [B] or [B, T] of the gate that it refers to, one side's; g itself of a gate
    that is no control. The others: see weights."""
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
    if not gate.compares:
        return gate
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
