"""Balanced preference optimization: Sun et al. 2025, arXiv 2506.03557."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import AT_A_KINK, PairLogProbs


@dataclass(frozen=True)
class BPO:
    """beta: inverse temperature. alpha: how much a nat of the rejected response's fall counts beside one of the chosen
    response's rise."""

    beta: float = 0.1
    alpha: float = 0.3

    def __post_init__(self) -> None:
        if self.alpha <= 0:
            raise ValueError(f"bpo's alpha {self.alpha!r} has no meaning; write a number above 0")


def bpo(pairs: PairLogProbs, parameters: BPO) -> Tensor:
    """L = -log sigmoid(beta min(a, -alpha b)); [B] in nats.

    Gradients, with s = beta sigmoid(-beta min(a, -alpha b)): C = -s and R = 0 where a is the smaller, else C = 0 and
    R = +alpha s.
    Trap: of a pair one side moves at a time, the one that lags. A training begins at the kink, a = -alpha b = 0, where
    rounding would say which: within AT_A_KINK each has half. A gate acts where the rejected side lags, and there alone.
    """
    a, fall = pairs.chosen_ratio, -parameters.alpha * pairs.rejected_ratio
    lagging = torch.where((a - fall).abs() <= AT_A_KINK, (a + fall) / 2, torch.minimum(a, fall))
    return -logsigmoid(parameters.beta * lagging)
