"""Contrastive preference optimization: Xu et al. 2024, arXiv 2401.08417, eq. 5."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class CPO:
    """beta: inverse temperature. alpha: weight of the chosen response's negative log-likelihood a token."""

    beta: float = 0.1
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ValueError(f"cpo's alpha {self.alpha!r} would push chosen responses down; write 0 or more")


def cpo(pairs: PairLogProbs, parameters: CPO) -> Tensor:
    """L = -log sigmoid(beta (lc - lr)) - alpha lc/|yc|; [B] in nats. No reference.

    Gradients, with s = beta sigmoid(-beta (lc - lr)): C = -s - alpha/|yc|, R = +s.
    Trap: the likelihood term is each response's own mean; TRL's is the mean over the tokens of a micro-batch, so long
    responses weigh more there. With one pair at a time, or equal lengths, both are one.
    """
    preference = -logsigmoid(parameters.beta * (pairs.chosen - pairs.rejected))
    return preference - parameters.alpha * pairs.chosen_per_token
