"""Whether a gate's thresholds fit the probabilities that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatebench.objectives.gates import CLOSED, Gate, quantiles, weight

LEAST_SPREAD = 0.05  # of the weights of the middle 90 %, below which a gate is as good as a constant
KAPPA = 5.0  # of the alpha K/tau that is advised: g is 0.007 at p = 0, 0.5 at tau and 0.993 at twice that


def constant_caution(gate: Gate, p: Tensor) -> str | None:
    """A sentence when alpha and tau, beside the measured range of p, shut the gate, leave it open, or make it a
    constant; else None.

    p: the warm-up policy's rejected probabilities on the training pairs, any shape; tau resolved.
    """
    source = gate.source
    if not source.compares or isinstance(source.tau, str) or isinstance(source.alpha, str):
        return None
    bounds = quantiles(p, (0.05, 0.95))
    low, high = weight(torch.tensor(bounds), source.alpha, source.tau).tolist()
    if high - low >= LEAST_SPREAD and high >= CLOSED:
        return None
    g = weight(p[~p.isnan()], source.alpha, source.tau)
    of = f"of {g.numel()} rejected {'tokens' if source.kind == 'token' else 'responses'}"
    if high < CLOSED:
        below = 100 * (g < CLOSED).double().mean().item()
        told = (
            f"closed on this data: {of} {below:.3g} % have a weight below {CLOSED:g}, {g.mean().item():.2g} in the mean"
        )
    elif low > 1 - CLOSED:
        above = 100 * (g > 1 - CLOSED).double().mean().item()
        told = f"open on this data: {of} {above:.3g} % have a weight above {1 - CLOSED:g}"
    else:
        told = f"nearly a constant on this data: {of} 90 % have a weight from {low:.3g} to {high:.3g}"
    return (
        f"gate {source.kind}: alpha {source.alpha:g} with tau {source.tau:.3g} is {told}; their probabilities run from "
        f"{bounds[0]:.3g} to {bounds[1]:.3g} (5-95 %). {_advice(p, bounds)}"
    )


def _advice(p: Tensor, bounds: Sequence[float]) -> str:
    """What fits the scale of p, where anything does."""
    (median,) = quantiles(p, (0.5,))
    if median > 0:
        low, high = weight(torch.tensor(bounds), KAPPA / median, median).tolist()
        if high - low >= LEAST_SPREAD:
            return f"Write tau: q50 with alpha: {KAPPA:g}/tau, which fit any scale."
    return "They hardly differ, so that no threshold tells these responses apart."
