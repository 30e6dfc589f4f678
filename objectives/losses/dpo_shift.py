"""DPO-Shift: Yang et al. 2025, arXiv 2502.07599, eq. 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class DPOShift:
    """beta: inverse temperature. lam: weight of the rejected log-ratio (the paper's f, in (0, 1]).

    schedule: "fixed" keeps lam; "linear_up" goes lam -> lam_max over training, "linear_down" from
    lam_max to lam. The published recipes use beta 0.01, lam 0.7; sweeps go from 0.5 to 1.
    """

    beta: float = 0.01
    lam: float = 0.7
    lam_max: float = 1.0
    schedule: Literal["fixed", "linear_up", "linear_down"] = "fixed"

    def __post_init__(self) -> None:
        if min(self.lam, self.lam_max) < 0:
            raise ValueError(
                f"dpo_shift's lam {min(self.lam, self.lam_max)!r} would pull rejected responses up; write 0 or more"
            )


def shift(parameters: DPOShift, progress: float) -> float:
    """lambda(t) for progress = t/T finished optimizer steps."""
    width = parameters.lam_max - parameters.lam
    if parameters.schedule == "linear_up":
        return parameters.lam + width * progress
    if parameters.schedule == "linear_down":
        return parameters.lam_max - width * progress
    return parameters.lam


def dpo_shift(pairs: PairLogProbs, parameters: DPOShift) -> Tensor:
    """L = -log sigmoid(beta (a - lambda b)); [B] in nats.

    Gradients: C = -beta sigmoid(-beta h_lambda), R = +lambda beta sigmoid(-beta h_lambda).
    Trap: lambda multiplies the policy's and the reference's rejected log-prob alike.
    """
    lam = shift(parameters, pairs.progress)
    return -logsigmoid(parameters.beta * (pairs.chosen_ratio - lam * pairs.rejected_ratio))
