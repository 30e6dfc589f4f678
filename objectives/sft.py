"""Supervised fine-tuning on the chosen response, the null control of a gate on the rejected one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gatebench.objectives.pairs import PairLogProbs


@dataclass(frozen=True)
class SFT:
    """length: "mean" per response token (TRL's scale); "sum" per response (Ren & Sutherland 2025)."""

    length: Literal["mean", "sum"] = "mean"


def sft(pairs: PairLogProbs, parameters: SFT) -> Tensor:
    """L = -lc, or -lc weighted so that the batch mean is the mean over tokens; [B] in nats.

    Gradients: C = -1 (sum), R = 0: gating this loss changes nothing.
    Source: Ren & Sutherland 2025, arXiv 2407.10490, eq. 1; "mean" is TRL's "sft" loss type.
    Trap: "mean" is over the batch's tokens, not per response, so long responses weigh more.
    """
    if parameters.length == "sum":
        return -pairs.chosen
    return -pairs.chosen * pairs.chosen.numel() / pairs.chosen_tokens.sum().clamp(min=1)
