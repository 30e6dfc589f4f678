"""What a loss takes of the effective batch and of the steps before (losses/whole_batch.py), in a training.

At the first micro-batch of a step the others of this process are scored ahead, without a gradient, and all processes
tell each other their pairs: each computes the same numbers of the same batch, on its CPU. What the loss keeps for the
next step stands in the trainer's state, so it is in every checkpoint, and a resumed training goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from trl import DPOTrainer

from gatebench.objectives import controls
from gatebench.objectives.loss import AnyLoss
from gatebench.objectives.losses.whole_batch import OfBatch
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.trl.collators import Batch
from gatebench.objectives.trl.steps import Step, of_all_processes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LOSS_KEPT = "gatebench.loss"  # in a checkpoint's trainer_state.json
OF_A_PAIR = ("chosen", "rejected", "ref_chosen", "ref_rejected", "chosen_tokens", "rejected_tokens")


def rows(
    trainer: DPOTrainer,
    loss: AnyLoss,
    parameters: DataclassInstance,
    step: Step | None,
    pairs: PairLogProbs,
    scored: Callable[[Batch], PairLogProbs],
) -> Tensor | None:
    """What these pairs are told of the effective batch, [B, K]; None where the loss asks for nothing.

    step: None in an evaluation, whose batch is all there is, and which leaves nothing behind; scored: the pairs of a
    micro-batch that is still to come, without a gradient.
    """
    of_batch = loss.of_batch
    if of_batch is None:
        return None
    kept = cast("dict[str, list[float]]", trainer.state.stateful_callbacks)
    # by seed and step, not by what was drawn before: a resumed run draws as an uninterrupted one
    generator = torch.Generator().manual_seed(1_000_003 * trainer.args.seed + trainer.state.global_step + 500_009)

    def taken(batch: Tensor) -> OfBatch:
        return of_batch(PairLogProbs(*batch.T), parameters, kept.get(LOSS_KEPT, ()), generator)

    device, own = pairs.chosen.device, _told(pairs)
    if step is None:
        return taken(own).rows.to(device)
    if step.rows is None:
        micros = [list(own)]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # a dropout stays to be drawn
            micros += [list(_told(scored(trainer._prepare_inputs(batch)))) for batch in step.batches[1:]]
        processes = of_all_processes(trainer.accelerator, micros)
        batch = controls.in_order(processes)
        found = taken(torch.stack([pair for micro in batch for pair in micro]))
        kept[LOSS_KEPT] = list(found.kept)
        ends = list(accumulate(map(len, batch)))
        starts = [0, *ends][trainer.accelerator.process_index : len(batch) : len(processes)]
        step.rows = [found.rows[start : start + len(m)].to(device) for start, m in zip(starts, micros, strict=True)]
    return step.rows[step.micro]


def _told(pairs: PairLogProbs) -> Tensor:
    """What of each pair is told, [B, 6], float64 on the CPU, without a gradient."""
    return torch.stack([getattr(pairs, name).detach().cpu().double() for name in OF_A_PAIR], dim=1)
