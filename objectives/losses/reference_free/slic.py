"""SLiC-HF: Zhao et al. 2023, arXiv 2305.10425, eq. 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class SLiC:
    """delta: by how much the chosen response should lead. lam: weight of its negative log-likelihood.

    length: "mean" a token, delta in nats a token; "sum" over a response, the paper's formula.
    """

    delta: float = 1.0
    lam: float = 0.1
    length: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.lam < 0:
            raise ValueError(f"slic's lam {self.lam!r} would push chosen responses down; write 0 or more")


def slic(pairs: PairLogProbs, parameters: SLiC) -> Tensor:
    """L = max(0, delta - x + y) - lambda x, with x, y the log-prob of chosen and rejected, a token or summed; [B] in
    nats. No reference.

    Gradients for sums: C = -1 - lambda, R = +1 while the lead is below delta, then C = -lambda, R = 0; for means
    divided by |yc| and |yr|.
    Trap: the likelihood term is on the chosen response (the paper also tries the best of ranked samples); past delta a
    gate has nothing to act on. A delta of 1 is a lead of one nat a token for means, of one nat in all for sums.
    """
    if parameters.length == "mean":
        chosen, rejected = pairs.chosen_per_token, pairs.rejected_per_token
    else:
        chosen, rejected = pairs.chosen, pairs.rejected
    return torch.relu(parameters.delta - chosen + rejected) - parameters.lam * chosen
