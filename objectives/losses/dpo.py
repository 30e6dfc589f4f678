"""Direct preference optimization: Rafailov et al. 2023, arXiv 2305.18290, eq. 7."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.switches import Diverging, LengthDesensitised, Weighted, scores


@dataclass(frozen=True)
class DPO(Diverging, LengthDesensitised, Weighted):
    """beta: inverse temperature of the implicit reward, per nat; the others are TRL's switches."""

    beta: float = 0.1


def dpo(pairs: PairLogProbs, parameters: DPO) -> Tensor:
    """L = -log sigmoid(beta h); [B] in nats.

    With f_divergence_type, f'(e^a) and f'(e^b) stand for a and b.
    Gradients: C = -beta sigmoid(-beta h), R = +beta sigmoid(-beta h).
    Trap: the two gradients have one size however improbable the rejected response already is; the
    softmax pays the mass taken from it to its argmax (squeezing), which is what the gate limits.
    """
    a, b = scores(pairs, parameters)
    return -logsigmoid(parameters.beta * (a - b))
