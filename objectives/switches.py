"""TRL's switches, which change what a pairwise loss reads, as parameters of a loss, under TRL's names and defaults.

use_weighting              weighted preference optimization: Zhou et al. 2024, arXiv 2406.11827, eq. 2
ld_alpha                   length-desensitised DPO: Liu et al. 2024, arXiv 2409.06411
f_divergence_type          f-DPO: Wang et al. 2023, arXiv 2309.16240

Each is a field that counts in a key only where it is given. The formulas are those of
trl.trainer.dpo_trainer.DPOTrainer._compute_loss (1.16.0); the parity test compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs

LARGEST_EXPONENT = 80.0  # TRL's, in float32, for alpha_divergence; without it forward_kl is infinite 88 nats down
Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """use_weighting: a pair's loss is multiplied by how probable its two responses are to the policy, a token, beside
    what it would draw itself; the weight is a constant of the gradient."""

    use_weighting: bool = field(default=False, metadata={"key": "given"})


@dataclass(frozen=True, kw_only=True)
class LengthDesensitised:
    """ld_alpha: what the tokens beyond the length of the shorter response count, in [0, 1]; None counts them in full.
    Raises ValueError for another."""

    ld_alpha: float | None = field(default=None, metadata={"key": "given"})

    def __post_init__(self) -> None:
        if self.ld_alpha is not None and not 0 <= self.ld_alpha <= 1:
            raise ValueError(f"ld_alpha {self.ld_alpha!r} is no share; write one in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Diverging:
    """f_divergence_type: by which the policy is held near the reference; f_alpha_divergence_coef: the alpha of
    alpha_divergence, which is reverse_kl at 1."""

    f_divergence_type: Divergence = field(default="reverse_kl", metadata={"key": "given"})
    f_alpha_divergence_coef: float = field(default=0.5, metadata={"key": "given"})


def scores(pairs: PairLogProbs, parameters: Diverging) -> tuple[Tensor, Tensor]:
    """f'(e^a) and f'(e^b), whose difference a loss of the margin reads in place of h; [B], [B]."""
    a, b = pairs.chosen_ratio, pairs.rejected_ratio
    return _score(a, parameters), _score(b, parameters)


def _score(ratio: Tensor, parameters: Diverging) -> Tensor:
    kind, power = parameters.f_divergence_type, parameters.f_alpha_divergence_coef - 1
    if kind == "forward_kl":
        return 1 - torch.exp((-ratio).clamp(max=LARGEST_EXPONENT))
    if kind == "js_divergence":
        return math.log(2) + logsigmoid(ratio)
    if kind == "alpha_divergence" and abs(power) >= 1e-6:
        return torch.expm1((power * ratio).clamp(max=LARGEST_EXPONENT)) / power
    return ratio


def desensitised(log_probs: Tensor, mask: Tensor, ld_alpha: float) -> Tensor:
    """Sums in which tokens beyond the shorter response's length count ld_alpha: [2B, T], [2B, T] -> [2B].

    log_probs, mask: of chosen and rejected responses, stacked; 0 where no token is.
    """
    place, lengths = mask.cumsum(dim=1), mask.sum(dim=1)
    shared = torch.minimum(*lengths.chunk(2)).repeat(2)
    counts = torch.where(place <= shared[:, None], 1.0, ld_alpha).to(log_probs.dtype) * mask
    return (log_probs * counts).sum(dim=1)


def weighting(log_probs: Tensor, log_sum_sq_probs: Tensor, mask: Tensor) -> Tensor:
    """The weight of each pair, [B], detached: [2B, T] of chosen and rejected responses, stacked.

    log_sum_sq_probs: the log of the sum of squared probabilities of all words, at each token.
    """
    aligned = ((log_probs - log_sum_sq_probs) * mask).detach()
    chosen, rejected = torch.exp(aligned.sum(dim=1) / mask.sum(dim=1).clamp(min=1)).chunk(2)
    return chosen * rejected
