"""The pairwise loss types of TRL 1.16 as pure functions, named `trl:NAME`.

Each is the formula of trl.trainer.dpo_trainer.DPOTrainer._compute_loss (1.16.0) on summed log-probs,
with a, b, h of pairs.py. The parity test compares every one with TRL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.switches import Diverging, LengthDesensitised, Weighted, scores


@dataclass(frozen=True)
class TRL:
    """TRL's own arguments and defaults. exo_pair needs label_smoothing > 0 (its paper: 1e-3)."""

    beta: float = 0.1
    label_smoothing: float = 0.0
    discopop_tau: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"label_smoothing {self.label_smoothing!r} is no share of flipped labels; write 0 to below 0.5"
            )
        if self.discopop_tau <= 0:
            raise ValueError(f"discopop_tau {self.discopop_tau!r} has no meaning; write a number above 0")


@dataclass(frozen=True)
class TRLSums(TRL, LengthDesensitised):
    """Of a loss that sorts the sums of a batch, so that no pair has a weight."""


@dataclass(frozen=True)
class TRLRatios(TRL, LengthDesensitised, Weighted):
    """Of a loss that reads each side's log-ratio, for which TRL has no other divergence."""


@dataclass(frozen=True)
class TRLMargin(TRL, Diverging, LengthDesensitised, Weighted):
    """Of a loss that reads the difference of the two sides alone."""


def _margin(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    a, b = scores(pairs, p)
    return a - b


def _margin_per_token(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    a, b = scores(pairs, p)
    return a / pairs.chosen_tokens.clamp(min=1) - b / pairs.rejected_tokens.clamp(min=1)


def sigmoid(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = -log sigmoid(beta h); [B].

    Source: Rafailov et al. 2023, arXiv 2305.18290, eq. 7.
    Trap: label_smoothing is not read: TRL smooths in `robust` and `exo_pair`.
    """
    return -logsigmoid(p.beta * _margin(pairs, p))


def hinge(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = max(0, 1 - beta h); [B].

    Source: Liu et al. 2023 (RSO), arXiv 2309.06657, after SLiC.
    Trap: past a margin of 1/beta nats a pair has no gradient, so that a gate has nothing to act on.
    """
    return torch.relu(1 - p.beta * _margin(pairs, p))


def ipo(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = (a/|yc| - b/|yr| - 1/(2 beta))^2; [B].

    Source: Azar et al. 2023, arXiv 2310.12036, eq. 17.
    Trap: the target is in nats a token: beta 0.1 asks for 5, out of reach.
    """
    return (_margin_per_token(pairs, p) - 1 / (2 * p.beta)) ** 2


def exo_pair(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = KL((sigmoid(beta h), sigmoid(-beta h)) || (1 - e, e)), e = label_smoothing; [B].

    Source: Ji et al. 2024, arXiv 2402.00856, eq. 16.
    Trap: with its default of 0 there is no loss: the paper takes 1e-3.
    """
    if not 0 < p.label_smoothing < 1:
        raise ValueError("trl:exo_pair needs label_smoothing in (0, 1); its paper uses 1e-3")
    epsilon = torch.tensor(p.label_smoothing)
    logits = p.beta * _margin(pairs, p)
    win = torch.sigmoid(logits) * (logsigmoid(logits) - torch.log1p(-epsilon))
    lose = torch.sigmoid(-logits) * (logsigmoid(-logits) - torch.log(epsilon))
    return win + lose


def nca_pair(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = -log sigmoid(beta a) - (log sigmoid(-beta a) + log sigmoid(-beta b)) / 2; [B].

    Source: Chen et al. 2024 (NCA), arXiv 2402.05369.
    Trap: each side has its own zero: the rejected side is pushed down however far the chosen one leads.
    """
    chosen, rejected = p.beta * pairs.chosen_ratio, p.beta * pairs.rejected_ratio
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def robust(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = (-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2 e), e = label_smoothing; [B].

    Source: Chowdhury et al. 2024, arXiv 2403.00409.
    Trap: with e of 0 it is sigmoid; it grows without bound as e nears 1/2.
    """
    logits = p.beta * _margin(pairs, p)
    clean = -(1 - p.label_smoothing) * logsigmoid(logits)
    flipped = -p.label_smoothing * logsigmoid(-logits)
    return (clean - flipped) / (1 - 2 * p.label_smoothing)


def bco_pair(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = -log sigmoid(beta a) - log sigmoid(-beta b); [B].

    Source: Jung et al. 2024 (BCO), arXiv 2404.04656.
    Trap: the running mean of rewards that the paper takes off is not in TRL 1.16.
    """
    return -logsigmoid(p.beta * pairs.chosen_ratio) - logsigmoid(-p.beta * pairs.rejected_ratio)


def sppo_hard(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = (a - 1/(2 beta))^2 + (b + 1/(2 beta))^2; [B].

    Source: Wu et al. 2024 (SPPO), arXiv 2405.00675.
    Trap: past its target the rejected response is pulled up: gate with side "down" to leave that alone.
    """
    target = 0.5 / p.beta
    return (pairs.chosen_ratio - target) ** 2 + (pairs.rejected_ratio + target) ** 2


def _sorted_preference(delta: Tensor, p: TRL) -> Tensor:
    logits = p.beta * delta
    return -logsigmoid(logits) * (1 - p.label_smoothing) - logsigmoid(-logits) * p.label_smoothing


def aot(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = -log sigmoid(beta d), d the sorted lc - lr less the sorted rc - rr; [B].

    Source: Melnyk et al. 2024, arXiv 2406.05882.
    Trap: it sorts over the pairs that it sees at once, so that its result changes with the micro-batch.
    """
    policy = (pairs.chosen - pairs.rejected).sort().values
    reference = (pairs.ref_chosen - pairs.ref_rejected).sort().values
    return _sorted_preference(policy - reference, p)


def aot_unpaired(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = -log sigmoid(beta d), d the sorted a less the sorted b; [B].

    Source: Melnyk et al. 2024, arXiv 2406.05882.
    Trap: it sorts over the pairs that it sees at once, so that its result changes with the micro-batch.
    """
    delta = pairs.chosen_ratio.sort().values - pairs.rejected_ratio.sort().values
    return _sorted_preference(delta, p)


def apo_zero(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = 1 - sigmoid(beta a) + sigmoid(beta b); [B].

    Source: D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 7.
    Trap: for data whose chosen answers are better than the policy; it saturates: pairs far off have no gradient.
    """
    chosen, rejected = p.beta * pairs.chosen_ratio, p.beta * pairs.rejected_ratio
    return 1 - torch.sigmoid(chosen) + torch.sigmoid(rejected)


def apo_down(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = sigmoid(beta a) + 1 - sigmoid(beta h); [B].

    Source: D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 8.
    Trap: it lowers the chosen response on purpose, for data whose chosen answers are worse than the policy.
    """
    return torch.sigmoid(p.beta * pairs.chosen_ratio) + 1 - torch.sigmoid(p.beta * pairs.margin)


def discopop(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = (1 - m) (-log sigmoid(beta h)) + m e^(-beta h), m = sigmoid(beta h / discopop_tau); [B].

    Source: Lu et al. 2024, arXiv 2406.08414, eq. 5.
    Trap: not convex: with tau 0.05 it rises between beta h of -0.12 and 0.07, where a training begins.
    """
    logits = p.beta * _margin(pairs, p)
    blend = torch.sigmoid(logits / p.discopop_tau)
    return -logsigmoid(logits) * (1 - blend) + torch.exp(-logits) * blend


def sft(pairs: PairLogProbs, p: TRL) -> Tensor:
    """L = -lc N / (all tokens of the N chosen responses); [B].

    Source: TRL 1.16, loss type "sft".
    Trap: a mean over the tokens of a micro-batch, so that its result changes with the cut.
    """
    return -pairs.chosen * pairs.chosen.numel() / pairs.chosen_scored.sum()


def sigmoid_norm(pairs: PairLogProbs, p: TRLMargin) -> Tensor:
    """L = -log sigmoid(beta (a/|yc| - b/|yr|)); [B].

    Source: Lambert et al. 2024 (Tulu 3), arXiv 2411.15124.
    Trap: beta is in units of nats a token: Tulu 3 takes 5 where DPO takes 0.1.
    """
    return -logsigmoid(p.beta * _margin_per_token(pairs, p))


_BY_PARAMETERS: dict[type[TRL], tuple[Callable[..., Tensor], ...]] = {
    TRLMargin: (sigmoid, hinge, ipo, exo_pair, robust, discopop, sigmoid_norm),
    TRLRatios: (nca_pair, bco_pair, sppo_hard, apo_zero, apo_down),
    TRLSums: (aot, aot_unpaired),
    TRL: (sft,),  # one number a batch, no pair of which has a weight
}
TYPES: dict[str, tuple[Callable[..., Tensor], type[TRL]]] = {
    function.__name__: (function, parameters)
    for parameters, functions in _BY_PARAMETERS.items() for function in functions
}  # fmt: skip
# Sorted over the batch or divided by its tokens, which for TRL's trainer is a micro-batch of one process. The others
# are sums over pairs; bco_pair has no running mean of rewards in TRL 1.16.
COUPLING = ("aot", "aot_unpaired", "sft")
