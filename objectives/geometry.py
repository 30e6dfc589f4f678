"""What of a pair predicts displacement before any training: CHES, and how its two sides' gradients lie to each other.

    CHES = <S+, S-> - |S+|^2                        Razin et al., arXiv 2410.08847; high: the chosen log-prob will fall
    normalised, <S+, S->/(n+ n-) - |S+|^2 / n+^2    with S+, S- the sums of the last hidden states that predict the
                                                    tokens of the chosen and the rejected response, n+ and n- many
    cosine, norm ratio r*                           of the gradients of lc and lr with respect to the head's weights;
                                                    r* is |grad lr| / |grad lc| (arXiv 2604.18239)

All sums are float64: in half precision CHES overflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatebench.objectives.layout.head import ScaledHead


@dataclass(frozen=True)
class Geometry:
    """Of one pair. NaN where a side has no token, or a gradient of nothing."""

    ches: float
    ches_normalised: float
    gradient_cosine: float
    gradient_norm_ratio: float


@dataclass(frozen=True)
class ReadResponse:
    """A response as its model predicts it: states [n, H] that the head reads, before each of the targets [n]."""

    states: Tensor
    targets: Tensor


def ches_of(chosen: Tensor, rejected: Tensor) -> tuple[float, float]:
    """Raw and normalised, of states [n+, H] and [n-, H]."""
    s, other = chosen.double().sum(dim=0), rejected.double().sum(dim=0)
    raw = other @ s - s @ s
    n, m = len(chosen), len(rejected)
    normalised = (other @ s) / (n * m) - (s @ s) / n**2 if n and m else torch.tensor(torch.nan)
    return float(raw), float(normalised)


@torch.no_grad()
def geometry(head: ScaledHead, chosen: ReadResponse, rejected: ReadResponse) -> Geometry:
    """A gradient is a sum of outer products, (onehot - p) slope h over tokens: its products with another follow from
    those of its factors, so that no [V, H] is made."""
    pulls = [_pulls(head, side) for side in (chosen, rejected)]
    own, cross, other = (
        _product(pulls[a], (chosen, rejected)[a].states, pulls[b], (chosen, rejected)[b].states)
        for a, b in ((0, 0), (0, 1), (1, 1))
    )
    size = (own * other) ** 0.5
    raw, normalised = ches_of(chosen.states, rejected.states)
    return Geometry(raw, normalised, cross / size if size else torch.nan, (other / own) ** 0.5 if own else torch.nan)


def _pulls(head: ScaledHead, side: ReadResponse) -> Tensor:
    """The gradients of each target's log-prob with respect to what the linear map puts out, [n, V]."""
    logits = head(side.states).float()
    found = -logits.softmax(dim=1)
    found[torch.arange(len(found), device=found.device), side.targets] += 1
    if head.softcap is not None:
        found = found * (1 - (logits / head.softcap).square())
    return found * head.scale


def _product(pulls: Tensor, states: Tensor, others: Tensor, other_states: Tensor) -> float:
    """<sum of pulls x states, sum of others x other_states>"""
    alike = states.double() @ other_states.double().T
    return float(((pulls @ others.T).double() * alike).sum())
