"""Reweighters beside the gate: they scale the gradients that reach the log-probs of a pair, on one side or on both.

C and R are the derivatives of a pair's own loss with respect to its chosen and rejected log-prob: they do not depend on
how many pairs a batch has, how it is cut, or by what its gradients are divided or scaled.

    clip        R becomes sign(R) min(|R|, bound): the weight of a rejected response is min(1, bound / |R|)
    humanline   a token whose log-ratio to the reference lies outside the band has no gradient, on both sides
                (ContextualAI/HALOs, train/trainers.py, arXiv 2509.24207). As there the log-ratio is clamped, so that
                the value of the loss changes too, and what is logged of its log-probs and rewards: the only one of
                which that is true. HALOs also moves the reference along; here it stays what it is.
    rc          C alpha and R / alpha, with one alpha for all pairs of a step (arXiv 2604.18239): `balance`

A control of them scales gradients by the mean, or by the permuted weights, of an effective batch (controls.py), each
side by its own; it clamps no value. All pairs of a step have one weight under rc, so that it has no such control but a
fixed alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RC_DECAY = 0.98  # of the averages over steps, as published


@dataclass(frozen=True)
class Sides:
    """Weights of the pairs of a micro-batch, [B] or [B, T] a side; chosen: None where that side is left alone."""

    rejected: Tensor
    chosen: Tensor | None = None


def clip_weights(gradient: Tensor, bound: float) -> Tensor:
    """min(1, bound / |R|), float32; gradient: R, any shape. 1 where R is 0."""
    return (bound / gradient.detach().abs().double()).clamp(max=1.0).float()


def inside(log_probs: Tensor, reference: Tensor, band: tuple[float, float]) -> Tensor:
    """Which tokens are learned from, bool; log_probs, reference: under the policy and the reference, one shape."""
    ratio = log_probs.detach() - reference
    return (ratio >= band[0]) & (ratio <= band[1])


def clamped(log_probs: Tensor, reference: Tensor, band: tuple[float, float]) -> Tensor:
    """Log-probs whose log-ratio to the reference is clamped to the band: bit for bit inside it, no gradient outside."""
    bounds = reference + (log_probs.detach() - reference).clamp(*band)
    return torch.where(inside(log_probs, reference, band), log_probs, bounds.to(log_probs.dtype))


@dataclass(frozen=True)
class Balance:
    """What rc weighs a step by: averages over steps of log r and log r*, nats; without a step before, the step's own.

    r: the ratio of mean |C| to mean |R| over the effective batch. r*: the ratio of the norms of the gradients of the
    mean rejected and the mean chosen log-prob with respect to the head's weights.
    """

    log_r: float
    log_r_star: float

    @property
    def alpha(self) -> float:
        """The weight of the chosen side; the rejected one has 1 / alpha."""
        return math.exp(0.5 * (self.log_r_star - self.log_r))


def balance(before: Balance | None, incentives: tuple[float, float], norms: tuple[float, float]) -> Balance | None:
    """The averages after a step. incentives, norms: of the chosen and the rejected side, sums or means over the same
    pairs. A step at which a side has neither gradient nor pull has no ratio, and leaves them as they are."""
    if not all(0 < number < math.inf for number in (*incentives, *norms)):
        return before
    log_r, log_r_star = math.log(incentives[0] / incentives[1]), math.log(norms[1] / norms[0])
    if before is None:
        return Balance(log_r, log_r_star)
    return Balance(
        RC_DECAY * before.log_r + (1 - RC_DECAY) * log_r, RC_DECAY * before.log_r_star + (1 - RC_DECAY) * log_r_star
    )
