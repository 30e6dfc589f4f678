"""C and R of the pairs of a micro-batch before its backward pass: of whatever loss, from the log-probs alone.

The loss is computed once more on the log-probs of a model's output, without the model; that costs next to nothing
beside the pass that made them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from trl import DPOTrainer

from gatebench.objectives.trl.collators import Batch
from gatebench.objectives.trl.scores import FusedOutput
from gatebench.objectives.trl.steps import Step


@dataclass
class GivenOutput:
    """Stands in for a model whose output is there already. log_probs_of: those of another batch."""

    output: FusedOutput
    step: Step | None
    log_probs_of: Callable[[Batch], Tensor]

    def __call__(self, **_: object) -> FusedOutput:
        return self.output


# A micro-batch's share of the loss and whether a registered loss made it, which knows the step that it is a part of.
LossOf: TypeAlias = Callable[[GivenOutput, Batch], Tensor]


def of_pairs(
    trainer: DPOTrainer, loss_of: LossOf, given: GivenOutput, inputs: Batch, registered: bool
) -> tuple[Tensor, Tensor]:
    """C and R, [B] each, of the loss of a pair; where a loss does not give all tokens of a response the same
    derivative, the one that is the largest in size.

    given: of these inputs; registered: whether the loss is one of ours, which counts every pair of a step alike.
    """
    half = len(inputs["completion_mask"]) // 2
    step, leaf = given.step, given.output.log_probs.detach().requires_grad_()
    alone = copy.copy(given.output)
    alone.log_probs = leaf
    with torch.enable_grad():
        loss = loss_of(replace(given, output=alone), inputs)
        (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    if gradient is None:
        gradient = torch.zeros_like(leaf)
    share = 1 / half
    whole = step.effective_batch(trainer.accelerator) if step is not None and registered else None
    if step is not None and whole is not None:
        share = len(step.batches) * trainer.accelerator.num_processes / whole.pairs
    mask = inputs["completion_mask"][:, 1:].bool()
    gradient = gradient[:, -mask.shape[1] :].masked_fill(~mask, 0.0) / share
    largest = gradient.gather(1, gradient.abs().argmax(dim=1, keepdim=True)).squeeze(1)
    chosen, rejected = largest.chunk(2)
    return chosen, rejected
