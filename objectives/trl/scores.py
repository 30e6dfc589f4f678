"""Token log-probs of a batch of TRL's, under the policy or the reference, without a gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import Module
from trl import DPOTrainer
from trl.trainer.utils import use_adapter

from gatebench.objectives.gates import HUMANLINE, Gate
from gatebench.objectives.trl.collators import CHOSEN_REFERENCE_TOKENS, REFERENCE_TOKENS, Batch, without_tokens

OF_SIDES = (CHOSEN_REFERENCE_TOKENS, REFERENCE_TOKENS)
NOT_THE_MODELS = ("completion_mask", "ref_chosen_logps", "ref_rejected_logps", *OF_SIDES)  # of a batch


class FusedOutput(Protocol):
    """What a model with TRL's fused head puts out, as far as it is read here; log_probs: [2B, T] or [2B, T-1]."""

    log_probs: Tensor
    aux_loss: Tensor | None


def fused_output(trainer: DPOTrainer, model: Module, inputs: Batch) -> FusedOutput:
    """As TRL's loss computes it: images and whatever else a collator makes of a pair go to the model too."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    given = {name: value for name, value in inputs.items() if name not in NOT_THE_MODELS}
    with trainer.accelerator.autocast():
        return cast(FusedOutput, model(**given, labels=labels, use_cache=False, fused_lm_head=True))


@torch.no_grad()
def token_log_probs(trainer: DPOTrainer, model: Module, inputs: Batch) -> Tensor:
    """[2B, T-1], zero outside the responses."""
    return fused_output(trainer, model, inputs).log_probs[:, -(inputs["input_ids"].shape[1] - 1) :]


@torch.no_grad()
def reference_log_probs(trainer: DPOTrainer, inputs: Batch) -> Tensor:
    """[B, T-1] of the rejected responses; see has_reference."""
    return inputs[REFERENCE_TOKENS] if REFERENCE_TOKENS in inputs else _live(trainer, inputs).chunk(2)[1]


@torch.no_grad()
def reference_of_both(trainer: DPOTrainer, inputs: Batch) -> Tensor:
    """[2B, T-1] of the chosen responses, then of the rejected ones; see has_reference."""
    if all(column in inputs for column in OF_SIDES):
        return torch.cat([inputs[column] for column in OF_SIDES])
    return _live(trainer, inputs)


def _live(trainer: DPOTrainer, inputs: Batch) -> Tensor:
    if trainer.ref_model is not None:
        return token_log_probs(trainer, trainer.ref_model, inputs)
    policy = trainer.accelerator.unwrap_model(trainer.model)
    with use_adapter(policy, "ref" if "ref" in policy.peft_config else None):
        return token_log_probs(trainer, trainer.model, inputs)


def with_reference(trainer: DPOTrainer, inputs: Batch, read: bool) -> Batch:
    """A batch with ref_chosen_logps and ref_rejected_logps [B]: those that were computed before the training, or now;
    read: whether the loss reads them, in whose place there may be 0 otherwise."""
    if trainer.precompute_ref_logps:
        return inputs
    if read:
        chosen, rejected = trainer.compute_ref_log_probs(trainer.ref_model or trainer.model, without_tokens(inputs))
    else:
        chosen = rejected = torch.zeros(len(inputs["input_ids"]) // 2, device=trainer.accelerator.device)
    return {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}


def columns_of(gate: Gate) -> tuple[str, ...]:
    """The columns that have what a gate reads of the reference."""
    return OF_SIDES if gate.source.kind == HUMANLINE else (REFERENCE_TOKENS,)


def reference_missing(gate: Gate) -> str:
    """The sentence on a gate whose reference is not to be had."""
    what = f"gate {HUMANLINE}" if gate.source.kind == HUMANLINE else "gate_probability='reference'"
    columns = columns_of(gate)
    return (
        f"{what} needs the reference model (precompute_ref_log_probs=False) or the data set's "
        f"column{'s'[: len(columns) - 1]} {' and '.join(columns)}, the reference log-probs of the "
        f"{'chosen and the ' if len(columns) > 1 else ''}rejected tokens"
    )


def has_reference(trainer: DPOTrainer, gate: Gate, columns: Iterable[str]) -> bool:
    """Whether what a gate reads of the reference can be had for data of these columns."""
    adapted = hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config")
    return set(columns_of(gate)) <= set(columns) or trainer.ref_model is not None or adapted
