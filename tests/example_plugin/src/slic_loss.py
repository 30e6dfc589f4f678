"""A third party's loss and gate in one file: SLiC-HF (arXiv 2305.10425) and the least likely token's probability."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gatebench import Loss, PairLogProbs


@dataclass(frozen=True)
class SLiCHF:
    """margin: nats by which chosen should lead; regularizer: weight of the likelihood term."""

    margin: float = 1.0
    regularizer: float = 0.1


def slic_hf(pairs: PairLogProbs, parameters: SLiCHF) -> Tensor:
    """L = max(0, margin - lc + lr) - regularizer lc; [B] in nats (eq. 1)."""
    return torch.relu(parameters.margin - pairs.chosen + pairs.rejected) - parameters.regularizer * pairs.chosen


def worst_token(log_probs: Tensor, mask: Tensor) -> Tensor:
    """The probability of the least likely token of each response, [B]."""
    return log_probs.masked_fill(~mask, 0.0).amin(dim=1).exp()


LOSS = Loss("slic_hf", slic_hf, SLiCHF)
