"""SimPO: Meng et al. 2024, arXiv 2405.14734, eq. 6."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class SimPO:
    """beta: reward of a nat a token. gamma: the reward by which the chosen response should lead.

    Published: beta 2 to 10, gamma 0.3 to 1.6 of beta; the repository and TRL write gamma / beta, or gamma, as here.
    """

    beta: float = 2.0
    gamma: float = 1.0


def simpo(pairs: PairLogProbs, parameters: SimPO) -> Tensor:
    """L = -log sigmoid(beta lc/|yc| - beta lr/|yr| - gamma); [B] in nats. No reference.

    Gradients, with s = beta sigmoid(-(beta lc/|yc| - beta lr/|yr| - gamma)): C = -s/|yc|, R = +s/|yr|.
    Trap: beta is in units of nats a token, so its scale is that of DPO's times a length, and with DPO's 0.1 the
    gradient is nearly constant. Nothing holds the policy near the warm-up.
    """
    lead = pairs.chosen_per_token - pairs.rejected_per_token
    return -logsigmoid(parameters.beta * lead - parameters.gamma)
