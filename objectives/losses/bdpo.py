"""Bounded DPO: Cho et al. 2025, arXiv 2506.12725."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class BDPO:
    """beta: inverse temperature. lam: share of the policy in the mixture that stands for the rejected policy, in
    (0, 1]; the rest is the reference. Raises ValueError for another."""

    beta: float = 0.1
    lam: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.lam <= 1:
            raise ValueError(f"bdpo's lam {self.lam!r} is no share of the policy; write one above 0, up to 1")


def bdpo(pairs: PairLogProbs, parameters: BDPO) -> Tensor:
    """L = -log sigmoid(beta (a - log(lambda e^b + 1 - lambda))); [B] in nats.

    Gradients, with s = beta sigmoid(-beta (a - log(lambda e^b + 1 - lambda))):
    C = -s, R = +s lambda e^b / (lambda e^b + 1 - lambda), which vanishes as the rejected response becomes improbable.
    Trap: lambda 1 is DPO; for lambda < 1 the loss has a lower bound in b, so that past it the only way down is a higher
    chosen log-prob, which is what it is for, and the margin h is not what it maximises.
    """
    mixture, lam = pairs.rejected_ratio, parameters.lam
    if lam < 1:
        mixture = torch.logaddexp(math.log(lam) + mixture, torch.full_like(mixture, math.log1p(-lam)))
    return -logsigmoid(parameters.beta * (pairs.chosen_ratio - mixture))
