"""Negative log-likelihood a token, the part that RPO adds to DPO: Pang et al. 2024, arXiv 2404.19733."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class NLL:
    """It has no parameter; its weight is that of the mix it stands in."""


def nll(pairs: PairLogProbs, parameters: NLL) -> Tensor:
    """L = -lc/|yc|; [B] in nats a token. No reference.

    Gradients: C = -1/|yc|, R = 0.
    Trap: each response counts alike however long it is; `sft` is the mean over the effective batch's tokens, and TRL's
    `loss_type: [sigmoid, sft]` that over a micro-batch's: the same weight is another remedy in each.
    """
    return -pairs.chosen_per_token
