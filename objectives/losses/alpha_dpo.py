"""alpha-DPO: Wu et al. 2024, arXiv 2410.10148, eq. 10, and the official code (junkangwu/alpha-DPO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.losses.whole_batch import OfBatch, running_mean_and_std
from gatebench.objectives.pairs import PairLogProbs

LEAST_DEVIATION = 1e-5  # nats a token


@dataclass(frozen=True)
class AlphaDPO:
    """beta, gamma: those of SimPO. alpha: by how much, in nats a token, the lead that is asked for grows with a
    standard deviation of the gap to the reference. Published for Llama-3-8B: beta 2.5, gamma 0.6 beta, alpha 0.2."""

    beta: float = 2.5
    gamma: float = 1.5
    alpha: float = 0.2


def gaps_of_batch(
    pairs: PairLogProbs, parameters: AlphaDPO, kept: Sequence[float], generator: torch.Generator | None = None
) -> OfBatch:
    """z of the gap a/|yc| - b/|yr|, [N, 1], by the running mean and deviation of the effective batches."""
    gap = (pairs.chosen_ratio_per_token - pairs.rejected_ratio_per_token).double()
    known = running_mean_and_std(gap, kept, LEAST_DEVIATION)
    if not known:
        return OfBatch(torch.zeros_like(gap)[:, None], ())
    mean, std = known
    return OfBatch(((gap - mean) / std)[:, None], known)


def alpha_dpo(pairs: PairLogProbs, parameters: AlphaDPO) -> Tensor:
    """L = -log sigmoid(beta (lc/|yc| - lr/|yr| - alpha z) - gamma), z the standardised gap, a constant; [B] in nats.

    Gradients, with s = beta sigmoid(-(...)): C = -s/|yc|, R = +s/|yr|.
    Trap: z is over the effective batch and the steps before it (running mean and deviation, decay 0.9), so a pair's
    loss depends on the others'. The official code begins both at 0, so z is very large at first; here they begin at
    the first batch whose gaps differ by more than rounding, and z is 0 before. A batch of one pair never does: SimPO.
    """
    known = pairs.of_batch
    if known is None:
        known = gaps_of_batch(pairs.detached(), parameters, ()).rows
    z = known[:, 0].to(pairs.chosen.dtype)
    lead = pairs.chosen_per_token - pairs.rejected_per_token - parameters.alpha * z
    return -logsigmoid(parameters.beta * lead - parameters.gamma)
