"""Direct preference optimization: Rafailov et al. 2023, arXiv 2305.18290, eq. 7."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class DPO:
    """beta: inverse temperature of the implicit reward, per nat."""

    beta: float = 0.1


def dpo(pairs: PairLogProbs, parameters: DPO) -> Tensor:
    """L = -log sigmoid(beta h); [B] in nats.

    Gradients: C = -beta sigmoid(-beta h), R = +beta sigmoid(-beta h).
    Trap: the two gradients have one size however improbable the rejected response already is; the
    softmax pays the mass taken from it to its argmax (squeezing), which is what the gate limits.
    """
    return -logsigmoid(parameters.beta * pairs.margin)
