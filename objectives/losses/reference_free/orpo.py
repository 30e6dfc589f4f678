"""Odds ratio preference optimization: Hong et al. 2024, arXiv 2403.07691, eq. 6."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs

LIKELIEST = -1e-6  # nats a token: nearer to 0 the odds p / (1 - p) and their gradient leave float32


@dataclass(frozen=True)
class ORPO:
    """lam: weight of the odds ratio beside the likelihood (TRL calls it beta)."""

    lam: float = 0.1

    def __post_init__(self) -> None:
        if self.lam < 0:
            raise ValueError(f"orpo's lam {self.lam!r} turns its preference round; write 0 or more")


def log_odds(per_token: Tensor) -> Tensor:
    """log(p / (1 - p)) of p = e^x for mean log-probs x [B] in nats a token, at most LIKELIEST."""
    x = per_token.clamp(max=LIKELIEST)
    near_one = x > -math.log(2)  # each form is exact on its side; the other is kept away from what it cannot do
    high = torch.log(-torch.expm1(torch.where(near_one, x, -math.log(2))))
    low = torch.log1p(-torch.exp(torch.where(near_one, -math.log(2), x)))
    return x - torch.where(near_one, high, low)


def orpo(pairs: PairLogProbs, parameters: ORPO) -> Tensor:
    """L = -lc/|yc| - lambda log sigmoid(log-odds(e^(lc/|yc|)) - log-odds(e^(lr/|yr|))); [B] in nats. No reference.

    Gradients, with z the difference of log-odds, o(p) = 1/(1 - p) and s = lambda sigmoid(-z):
    C = -(1 + s o(pc))/|yc|, R = +s o(pr)/|yr|.
    Trap: the method has no warm-up, the likelihood term is one: a cell of it starts from the base model unless it says
    otherwise. TRL's likelihood term also counts the prompt's tokens; here it is the response's alone. A response of no
    token has p = 1, whose odds are held at LIKELIEST.
    """
    z = log_odds(pairs.chosen_per_token) - log_odds(pairs.rejected_per_token)
    return -pairs.chosen_per_token - parameters.lam * logsigmoid(z)
