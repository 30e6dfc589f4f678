"""C and R of the pairs of a micro-batch before its backward pass, and the gradients of the two sides' log-probs.

C and R are those of whatever loss, which is computed once more on the log-probs of a model's output, without the model;
that costs next to nothing beside the pass that made them.

The gradients, which rc balances, are with respect to the LM head, from the last hidden states alone, so that weights
which it shares with the embedding count as the head's. Where a head is not trained, under an adapter, they are with
respect to all weights that are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from trl import DPOTrainer

from gatebench.objectives.causal_lm import CausalLM, backbone_of, without_adapter
from gatebench.objectives.layout.head import ScaledHead, head_of
from gatebench.objectives.trl import scores
from gatebench.objectives.trl.collators import Batch
from gatebench.objectives.trl.scores import FusedOutput
from gatebench.objectives.trl.steps import Step

HEAD_LOGITS = 2**25  # numbers
Gradients = list[Tensor]  # of one side, a tensor a weight


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


def sides_gradients(trainer: DPOTrainer, inputs: Batch) -> tuple[Gradients, Gradients]:
    """Of the summed chosen and the summed rejected log-prob of a micro-batch of this process."""
    model = trainer.accelerator.unwrap_model(trainer.model)  # whose backward passes no other process waits for
    network = without_adapter(model)
    head = head_of(network)
    if head.weight.requires_grad:
        return _of_head(trainer, network, head, inputs)
    weights = [weight for weight in cast(Module, model).parameters() if weight.requires_grad]
    return _of_weights(trainer, model, weights, inputs)


def norms_over_processes(trainer: DPOTrainer, parts: Iterable[tuple[Gradients, Gradients]]) -> tuple[float, float]:
    """The norms of the sums over micro-batches and processes: of the chosen side and of the rejected one."""
    total: list[Gradients] = []
    for part in parts:
        total = (
            [[a + b for a, b in zip(*side, strict=True)] for side in zip(total, part, strict=True)]
            if total
            else list(part)
        )
    chosen, rejected = (_norm([trainer.accelerator.reduce(weight, "sum") for weight in side]) for side in total)
    return chosen, rejected


def _norm(gradients: Gradients) -> float:
    return math.hypot(*(float(weight.double().norm()) for weight in gradients))


def _of_head(trainer: DPOTrainer, network: CausalLM, head: ScaledHead, inputs: Batch) -> tuple[Gradients, Gradients]:
    with torch.no_grad(), trainer.accelerator.autocast():
        hidden = backbone_of(network)(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
    mask = inputs["completion_mask"][:, 1:].bool()
    found = []
    for states, ids, own in zip(
        hidden[:, :-1].chunk(2), inputs["input_ids"][:, 1:].chunk(2), mask.chunk(2), strict=True
    ):
        found.append([head_gradient(head, states[own], ids[own])])
    return found[0], found[1]


def head_gradient(head: ScaledHead, states: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the summed log-prob of targets [N] after last hidden states [N, H] with respect to the head's
    weight [V, H]: sum over tokens of (onehot - p) h, where nothing scales or caps the logits. Float32."""
    weight = cast(Parameter, head.weight)
    total = torch.zeros_like(weight, dtype=torch.float32)
    at_once = max(1, HEAD_LOGITS // len(weight))
    with torch.enable_grad():
        for some, wanted in zip(torch.split(states.detach(), at_once), torch.split(targets, at_once), strict=True):
            log_p = head(some).float().log_softmax(dim=1).gather(1, wanted[:, None]).sum()
            total += torch.autograd.grad(log_p, weight)[0].float()
    return total


def _of_weights(
    trainer: DPOTrainer, model: CausalLM, weights: Sequence[Parameter], inputs: Batch
) -> tuple[Gradients, Gradients]:
    with torch.enable_grad():
        log_probs = scores.fused_output(trainer, cast(Module, model), inputs).log_probs
        chosen, rejected = log_probs.chunk(2)
        found = []
        for side, more in ((chosen, True), (rejected, False)):
            found.append(torch.autograd.grad(side.sum(), weights, retain_graph=more, allow_unused=True))
    filled = [[torch.zeros_like(w) if g is None else g for g, w in zip(side, weights, strict=True)] for side in found]
    return filled[0], filled[1]
