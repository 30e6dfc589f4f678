"""DPO-Positive (Smaug): Pal et al. 2024, arXiv 2402.13228, eq. 3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import AT_A_KINK, PairLogProbs


@dataclass(frozen=True)
class DPOP:
    """beta: inverse temperature. lam: what a nat costs that the chosen response has lost against the reference, in nats
    of the margin; the paper trains with 50 and tries 5 to 500."""

    beta: float = 0.3
    lam: float = 50.0

    def __post_init__(self) -> None:
        if self.lam < 0:
            raise ValueError(f"dpop's lam {self.lam!r} would reward a fall; write 0 or more")


def dpop(pairs: PairLogProbs, parameters: DPOP) -> Tensor:
    """L = -log sigmoid(beta (h - lambda max(0, rc - lc))); [B] in nats.

    Gradients, with s = beta sigmoid(-beta (h - lambda max(0, -a))): C = -s, or -(1 + lambda) s where a < 0; R = +s.
    A training begins at the kink, a = 0, where rounding would say which pairs are penalised: none is within AT_A_KINK.
    Trap: the penalty stands inside the sigmoid: where the chosen response has fallen far, s is beta itself, so a small
    fall is undone by a gradient of (1 + lambda) beta; a learning rate that suits DPO may be too large by that factor.
    """
    a = pairs.chosen_ratio
    fallen = torch.where(a < -AT_A_KINK, -a, 0.0)
    return -logsigmoid(parameters.beta * (pairs.margin - parameters.lam * fallen))
