"""Calibrated DPO: Xiao et al. 2024, arXiv 2412.14516, eq. 10 (and the official code)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs

LARGEST_SENSIBLE_TARGET = 50.0


@dataclass(frozen=True)
class CalDPO:
    """beta: sets the calibration target, +-1/(2 beta) nats a response."""

    beta: float = 0.1


def cal_dpo(pairs: PairLogProbs, parameters: CalDPO) -> Tensor:
    """L = -log sigmoid(h) + (a - 1/2beta)^2 + (b + 1/2beta)^2; [B].

    Gradients: C = -sigmoid(-h) + 2 (a - 1/2beta), R = sigmoid(-h) + 2 (b + 1/2beta).
    Trap: beta is in the targets only, not in the sigmoid term (so TRL's ["sigmoid", "sppo_hard"],
    which shares beta, is another loss). Past its target the rejected response is pulled *up*
    (R < 0): gate with side "down" to leave that rescue alone.
    """
    target = 1 / (2 * parameters.beta)
    calibration = (pairs.chosen_ratio - target) ** 2 + (pairs.rejected_ratio + target) ** 2
    return -logsigmoid(pairs.margin) + calibration


def caution(parameters: CalDPO) -> str | None:
    """What a user should know before training with these parameters, or None."""
    target = 1 / (2 * parameters.beta)
    if target > LARGEST_SENSIBLE_TARGET:
        return (
            f"cal_dpo: beta {parameters.beta:g} sets targets of +-{target:g} nats a response; above "
            f"{LARGEST_SENSIBLE_TARGET:g} the calibration term drowns the preference term. "
            f"Use beta >= {1 / (2 * LARGEST_SENSIBLE_TARGET):g}."
        )
    return None
