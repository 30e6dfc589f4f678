"""beta-DPO: Wu et al. 2024, arXiv 2407.08639, eq. 7 to 9, and the official code (junkangwu/beta-DPO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.losses.whole_batch import OfBatch, running_mean_and_std
from gatebench.objectives.pairs import AT_A_KINK, PairLogProbs

LEAST_BETA = 1e-3  # the official code's


@dataclass(frozen=True)
class BetaDPO:
    """beta: inverse temperature at the usual gap. a: by which share it grows for each nat that the batch's gap is
    wider. keep: share of a batch's pairs that count, in (0, 1]. Published: 0.1, 0.6, 0.8. Raises ValueError for a keep
    that is no share."""

    beta: float = 0.1
    a: float = 0.6
    keep: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"beta_dpo's keep {self.keep!r} is no share of a batch; write one above 0, up to 1")


def beta_of_batch(
    pairs: PairLogProbs, parameters: BetaDPO, kept: Sequence[float], generator: torch.Generator | None = None
) -> OfBatch:
    """The batch's beta and what each pair's loss counts, [N, 2]: 0 for one that is left out, N / n for one of n kept.

    Pairs are drawn without replacement by the weight exp(-z^2 / 2) of their gap h: the n largest of log weight + Gumbel
    noise are such a draw, also where weights underflow. In order of their gaps, so that the batch's order is of no
    account. While the gaps of a batch have not differed by more than rounding, all pairs count, at beta itself.
    """
    gap = pairs.margin.double()
    known = running_mean_and_std(gap, kept, AT_A_KINK)
    if not known:
        return OfBatch(torch.stack([torch.full_like(gap, parameters.beta), torch.ones_like(gap)], dim=1), ())
    mean, std = known
    order = gap.argsort()
    noise = -torch.log(-torch.log(torch.rand(len(gap), generator=generator or _fixed(), dtype=torch.float64)))
    number = max(1, int(len(gap) * parameters.keep))
    drawn = order[(noise.to(gap.device) - ((gap[order] - mean) / std) ** 2 / 2).topk(number).indices]
    counts = torch.zeros_like(gap)
    counts[drawn] = len(gap) / number
    beta = max(LEAST_BETA, parameters.beta * (1 + parameters.a * (float(gap[drawn].mean()) - mean)))
    return OfBatch(torch.stack([torch.full_like(gap, beta), counts], dim=1), known)


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def beta_dpo(pairs: PairLogProbs, parameters: BetaDPO) -> Tensor:
    """L = -log sigmoid(beta_batch h), beta_batch = beta (1 + a (mean gap - M)), of the pairs kept; [B] in nats.

    The mean is over the kept pairs of the effective batch, M its running mean over the steps (decay 0.9, this one
    included, begun at the first). The mean of the losses is that of the kept pairs'.
    Gradients: C = -beta_batch sigmoid(-beta_batch h), R = -C, times what the pair counts (0 where it is left out).
    Trap: a multiplies nats, so it has to shrink as responses grow: at 1/a nats above M beta has doubled, at as many
    below it is at its floor of 0.001. The official code begins M at 0: a wide gap raises the first steps' beta there.
    """
    known = pairs.of_batch
    if known is None:
        known = beta_of_batch(pairs.detached(), parameters, ()).rows
    beta, counts = known.to(pairs.chosen.dtype).unbind(dim=1)
    return -logsigmoid(beta * pairs.margin) * counts
