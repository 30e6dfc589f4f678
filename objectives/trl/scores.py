"""Token log-probs of a batch of TRL's, under the policy or the reference, without a gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module
from trl import DPOTrainer
from trl.trainer.utils import use_adapter

from gatebench.objectives.trl.collators import REFERENCE_TOKENS, Batch

NOT_THE_MODELS = ("completion_mask", "ref_chosen_logps", "ref_rejected_logps", REFERENCE_TOKENS)  # of a batch


@torch.no_grad()
def token_log_probs(trainer: DPOTrainer, model: Module, inputs: Batch) -> Tensor:
    """[2B, T-1], zero outside the responses, as TRL's loss computes it: images and whatever else a collator makes of a
    pair go to the model too."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    given = {name: value for name, value in inputs.items() if name not in NOT_THE_MODELS}
    with trainer.accelerator.autocast():
        output = model(**given, labels=labels, use_cache=False, fused_lm_head=True)
    found: Tensor = output.log_probs[:, -(labels.shape[1] - 1) :]
    return found


@torch.no_grad()
def reference_log_probs(trainer: DPOTrainer, inputs: Batch) -> Tensor:
    """[B, T-1] of the rejected responses; see has_reference_tokens."""
    if REFERENCE_TOKENS in inputs:
        return inputs[REFERENCE_TOKENS]
    if trainer.ref_model is not None:
        return token_log_probs(trainer, trainer.ref_model, inputs).chunk(2)[1]
    policy = trainer.accelerator.unwrap_model(trainer.model)
    with use_adapter(policy, "ref" if "ref" in policy.peft_config else None):
        return token_log_probs(trainer, trainer.model, inputs).chunk(2)[1]


def with_reference(trainer: DPOTrainer, inputs: Batch, read: bool) -> Batch:
    """A batch with ref_chosen_logps and ref_rejected_logps [B]: those that were computed before the training, or now;
    read: whether the loss reads them, in whose place there may be 0 otherwise."""
    if trainer.precompute_ref_logps:
        return inputs
    if read:
        known = {name: value for name, value in inputs.items() if name != REFERENCE_TOKENS}
        chosen, rejected = trainer.compute_ref_log_probs(trainer.ref_model or trainer.model, known)
    else:
        chosen = rejected = torch.zeros(len(inputs["input_ids"]) // 2, device=trainer.accelerator.device)
    return {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}


def has_reference(trainer: DPOTrainer, columns: list[str]) -> bool:
    """Whether the reference's token log-probs can be had for data of these columns."""
    adapted = hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config")
    return REFERENCE_TOKENS in columns or trainer.ref_model is not None or adapted
