"""Identity preference optimization: Azar et al. 2023, arXiv 2310.12036, eq. 17."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gatebench.objectives.pairs import PairLogProbs

REACHABLE_NATS_PER_TOKEN = 2.0


@dataclass(frozen=True)
class IPO:
    """beta: the paper's tau; the target margin is 1/(2 beta).

    length: "mean" divides each log-ratio by its response's tokens (TRL, confirmed by the authors);
    "sum" is the paper's formula on summed log-probs.
    """

    beta: float = 0.1
    length: Literal["mean", "sum"] = "mean"


def ipo(pairs: PairLogProbs, parameters: IPO) -> Tensor:
    """L = (D - 1/(2 beta))^2 with D = a/|yc| - b/|yr| (mean) or D = h (sum); [B] in nats squared.

    Gradients: C = 2 (D - 1/2beta)/|yc|, R = -2 (D - 1/2beta)/|yr|; without the lengths for sums.
    Trap: with means the target is in nats a token: beta 0.1 asks for 5, out of reach, and the
    gradient hardly changes during training. beta_mean ~ beta_sum * length matches the two.
    """
    if parameters.length == "mean":
        margin = pairs.chosen_ratio_per_token - pairs.rejected_ratio_per_token
    else:
        margin = pairs.margin
    return (margin - 1 / (2 * parameters.beta)) ** 2


def caution(parameters: IPO) -> str | None:
    """What a user should know before training with these parameters, or None."""
    target = 1 / (2 * parameters.beta)
    if parameters.length == "mean" and target > REACHABLE_NATS_PER_TOKEN:
        return (
            f"ipo: beta {parameters.beta:g} asks for a margin of {target:g} nats per token, more than "
            f"training reaches (about {REACHABLE_NATS_PER_TOKEN:g}); the gradient stays nearly constant. "
            f"Use beta >= {1 / (2 * REACHABLE_NATS_PER_TOKEN):g} or length: sum."
        )
    return None
