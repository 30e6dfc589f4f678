"""Noticing in time that a training has diverged: its stage fails, with the step and what to try."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gatebench.bench.errors import StageFailed
from gatebench.bench.stages.training.change import ADVICE, FARTHEST

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import TrainerCallback, TrainerControl, TrainerState

    from gatebench.objectives.causal_lm import CausalLM
    from gatebench.objectives.loss import AnyLoss

STILL = 3  # steps in a row: one batch may hold only pairs whose two responses were cut to the same tokens
PREFERRED = 97.3  # nats by which a pair may well be told apart, and the optimum of no loss


def divergence_callback(
    *, may_rest: bool = False, may_grow: bool = True, worst_loss: float = math.inf
) -> TrainerCallback:
    """Looks at the gradient of every step; judges where a step is logged, with one wait for the device.

    may_rest: whether a loss without a gradient is one that has reached its end, see `has_an_end`. may_grow: whether the
    weights begin at random or near 0, so that nothing follows from how they grow. worst_loss: above which a model is
    worse at the last step than one that guesses, in the units of the loss.
    """
    import torch
    from transformers import TrainerCallback

    class Diverged(TrainerCallback):
        def __init__(self) -> None:
            self.norms: list[Tensor] = []  # of the steps since the last judgement, clipped
            self.still = 0
            self.start = math.inf  # norm of all weights

        def on_train_begin(
            self, args: object, state: TrainerState, control: TrainerControl, *, model: CausalLM, **_: object
        ) -> None:
            if not may_grow:
                self.start = float(_norm(model.parameters()))

        def on_pre_optimizer_step(
            self, args: object, state: TrainerState, control: TrainerControl, *, model: CausalLM, **_: object
        ) -> None:
            found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            self.norms.append(_norm(found))

        def on_log(
            self, args: object, state: TrainerState, control: TrainerControl, *, model: CausalLM,
            logs: dict[str, float], **_: object,
        ) -> None:  # fmt: skip
            if "loss" not in logs:  # the summary of a finished training
                return
            now = state.global_step
            for step, norm in enumerate(torch.stack(self.norms).tolist(), now - len(self.norms) + 1):
                self.judge_gradient(step, norm)
            self.norms = []
            if not may_grow:
                self.judge_size(now, float(_norm(model.parameters())))
            self.judge_loss(now, logs["loss"], now >= state.max_steps)

        def judge_gradient(self, step: int, norm: float) -> None:
            if not math.isfinite(norm):
                raise StageFailed(f"the gradient is {norm} at step {step}; {ADVICE}")
            self.still = self.still + 1 if norm == 0 else 0
            if self.still >= STILL and not may_rest:
                raise StageFailed(
                    f"the gradient is exactly 0 at step {step} as in the {STILL - 1} before: the loss is saturated, "
                    f"the training has diverged; {ADVICE}"
                )

        def judge_size(self, step: int, size: float) -> None:
            times = size / self.start
            if not times <= 1 + FARTHEST:
                raise StageFailed(
                    f"the weights have grown to {times:.3g} times their first norm at step {step}: the training "
                    f"has diverged; {ADVICE}"
                )

        def judge_loss(self, step: int, loss: float, is_last: bool) -> None:
            if not math.isfinite(loss):
                raise StageFailed(f"the loss is {loss} at step {step}; {ADVICE}")
            if is_last and loss > worst_loss:
                raise StageFailed(
                    f"the loss is {loss:.4g} at step {step}, the last, where {worst_loss:.3g} is already worse than "
                    f"guessing: the training has diverged; {ADVICE}"
                )

    return Diverged()


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    """Of all together, [], also where they lie in parts on several processes."""
    import torch
    from torch.distributed.tensor import DTensor

    norm = torch.nn.utils.get_total_norm(tensors)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def has_an_end(loss: AnyLoss, parameters: object) -> bool:
    """Whether a loss has no gradient any more at a pair that is told apart well enough, as a hinge has; the others
    come to an exact 0 only where their numbers run out."""
    import torch

    from gatebench.objectives.pairs import PairLogProbs

    reference, tokens = torch.tensor([-60.0], dtype=torch.float64), torch.tensor([20])
    chosen = (reference + PREFERRED / 2).requires_grad_()
    rejected = (reference - PREFERRED / 2).requires_grad_()
    pair = PairLogProbs(chosen, rejected, reference, reference, tokens, tokens, 1.0)
    found = torch.autograd.grad(loss.function(pair, parameters).sum(), (chosen, rejected), allow_unused=True)
    return not any(gradient.any() for gradient in found if gradient is not None)
