"""A loss of ours in place of TRL's, from what TRL's own pass through the model put out."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, cast

import torch
from torch import Tensor
from trl import DPOTrainer

from gatebench.objectives import switches
from gatebench.objectives.loss import AnyLoss
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import get_loss
from gatebench.objectives.trl import whole_batch
from gatebench.objectives.trl.collators import Batch
from gatebench.objectives.trl.config import Gating
from gatebench.objectives.trl.incentives import GivenOutput
from gatebench.objectives.trl.policy import GatedPolicy
from gatebench.objectives.trl.scores import with_reference


class _Squares(Protocol):
    """What the model puts out beside its log-probs where TRL weights pairs; [2B, T] or [2B, T-1]."""

    log_sum_sq_probs: Tensor


def of_batch(trainer: DPOTrainer, gating: Gating, policy: GatedPolicy | GivenOutput, inputs: Batch) -> Tensor:
    """The share of a micro-batch in the mean over the effective batch, [].

    policy: after its call; inputs: with ref_chosen_logps and ref_rejected_logps [B]. A router's loss is added as TRL
    adds it.
    """
    loss, step, log_probs = get_loss(cast(str, gating.loss)), policy.step, policy.output.log_probs
    parameters = loss.make_parameters(**gating.loss_parameters)
    whole = None if step is None else step.effective_batch(trainer.accelerator)
    progress = min(1.0, trainer.state.global_step / max(1, trainer.state.max_steps)) if trainer.model.training else 1.0
    pairs = replace(pairs_in(loss, log_probs, inputs, trainer.ld_alpha), progress=progress, part_of=whole)

    def scored(other: Batch) -> PairLogProbs:
        return pairs_in(
            loss, policy.log_probs_of(other), with_reference(trainer, other, loss.reference), trainer.ld_alpha
        )

    pairs = replace(pairs, of_batch=whole_batch.rows(trainer, loss, parameters, step, pairs, scored))
    per_pair: Tensor = loss.function(pairs, parameters)
    if trainer.use_weighting:
        squares = cast(_Squares, policy.output).log_sum_sq_probs
        mask = inputs["completion_mask"][..., 1:]
        width = mask.shape[1]
        per_pair = per_pair * switches.weighting(log_probs[:, -width:], squares[:, -width:], mask)
    mean: Tensor = per_pair.mean().to(log_probs.dtype)
    if step is not None and whole is not None:
        # the means of micro-batches and processes are averaged: where these differ in size, not every pair counts alike
        mean = mean * (len(per_pair) * len(step.batches) * trainer.accelerator.num_processes / whole.pairs)
    if trainer.aux_loss_enabled and policy.output.aux_loss is not None:
        mean = mean + trainer.router_aux_loss_coef * policy.output.aux_loss
    return mean


def pairs_in(loss: AnyLoss, log_probs: Tensor, inputs: Batch, ld_alpha: float | None) -> PairLogProbs:
    """The pairs of a batch; log_probs: [2B, T] or [2B, T-1]; inputs: with ref_chosen_logps and ref_rejected_logps;
    ld_alpha: what tokens beyond the shorter response's length count, None in full."""
    mask = inputs["completion_mask"][..., 1:]
    log_probs = log_probs[:, -mask.shape[1] :]
    sums = torch.float32 if log_probs.device.type == "mps" else loss.sums  # Apple's GPUs have no float64
    if ld_alpha is not None:
        summed = switches.desensitised(log_probs.to(sums), mask, ld_alpha)
    else:
        summed = log_probs.sum(dim=1, dtype=sums)
    chosen, rejected = summed.chunk(2)
    chosen_tokens, rejected_tokens = inputs["completion_mask"].sum(dim=1).chunk(2)
    return PairLogProbs(
        chosen, rejected, inputs["ref_chosen_logps"], inputs["ref_rejected_logps"], chosen_tokens, rejected_tokens,
        chosen_unscored=chosen_tokens - mask.sum(dim=1).chunk(2)[0],
    )  # fmt: skip
