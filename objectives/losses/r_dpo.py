"""Length-regularised DPO: Park et al. 2024, arXiv 2403.19159, eq. 9."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class RDPO:
    """beta: inverse temperature. alpha: nats of reward that a token of length costs; the paper tries up to 0.05."""

    beta: float = 0.1
    alpha: float = 0.01


def r_dpo(pairs: PairLogProbs, parameters: RDPO) -> Tensor:
    """L = -log sigmoid(beta h - alpha (|yc| - |yr|)); [B] in nats.

    Gradients, with s = beta sigmoid(-(beta h - alpha (|yc| - |yr|))): C = -s, R = +s.
    Trap: the lengths are data, so alpha only shifts each pair's margin: a longer chosen response has to lead by more.
    Length as the policy generates it is not in the loss.
    """
    longer = (pairs.chosen_tokens - pairs.rejected_tokens).to(pairs.chosen.dtype)
    return -logsigmoid(parameters.beta * pairs.margin - parameters.alpha * longer)
