"""What a loss takes of the effective batch as a whole and of the steps before, beside each pair's own log-probs.

A loss that needs it has a second function, `of_batch` of its `Loss`. It is called once a step with all pairs of the
effective batch, over all micro-batches and processes, under the policy as it is at the beginning of the step, without a
gradient, and with the numbers that it asked to be kept at the step before. Each pair finds its row in
PairLogProbs.of_batch. So the result does not depend on how a batch is cut, and a resumed training goes on with the
numbers that a checkpoint kept. Pairs that come without a row, as in an evaluation, are all of their batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

DECAY = 0.9  # of the running means; that of both published codes


@dataclass(frozen=True)
class OfBatch:
    """rows: [N, K], what each pair of the effective batch is told; kept: numbers for the next step."""

    rows: Tensor
    kept: tuple[float, ...]


def running_mean_and_std(values: Tensor, kept: Sequence[float], rounding: float) -> tuple[float, ...]:
    """Running mean and standard deviation (n - 1) of values [N] over the steps, this one included, and begun at the
    first whose values deviate by more than rounding; () before that.

    At the start of a training the policy is its reference, and gaps to it are rounding, of which nothing is to be made.
    kept: those of the step before.
    """
    own = float(values.mean()), float(values.std()) if values.numel() > 1 else 0.0
    if own[1] <= rounding:
        return tuple(kept)
    if not kept:
        return own
    return tuple(DECAY * before + (1 - DECAY) * now for before, now in zip(kept, own, strict=True))
