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
    """L = -lc, or -lc weighted so that the mean over the effective batch is the mean over its tokens; [B] in nats.

    Gradients: C = -1 (sum), R = 0: gating this loss changes nothing.
    Source: Ren & Sutherland 2025, arXiv 2407.10490, eq. 1; "mean" is TRL's "sft" loss type.
    Trap: "mean" is over the effective batch's tokens, not per response, so long responses weigh more; TRL's, `trl:sft`,
    is over a micro-batch's tokens, so it changes with the cut into micro-batches.
    """
    if parameters.length == "sum":
        return -pairs.chosen
    batch = pairs.effective_batch
    return -pairs.chosen * batch.pairs / batch.chosen_tokens.clamp(min=1)
