"""How far a training moved its weights: nearly not at all, or beyond all measure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gatebench.bench.errors import StageFailed
from gatebench.bench.stages.stage import Facts

if TYPE_CHECKING:
    import torch
    from peft.tuners.lora import Linear as LoraLinear
    from torch import Tensor
    from torch.nn import Module

    from gatebench.objectives.causal_lm import CausalLM

ADVICE = "try a lower learning rate"
FACTS = ("weights_changed", "update")
# 5 to 60 steps with learning_rate 5e-7 change 97 to 99.9 % of float32 weights, and 1 to 5 % of bfloat16 ones.
FEWEST_CHANGED = 0.5
# Measured on built-ins over 120 to 240 steps: 0.2 to 0.35 at the shipped learning rate 5e-4 and 1.2 at ten times that,
# where something is still learned; 7 at a hundred times, where the policy says one thing whatever it is asked.
FARTHEST = 4.0


@dataclass(frozen=True)
class Change:
    """changed: share of the trained weights that differ from what they were; inside: the same of those between the
    embeddings, where no weight belongs to a token that may not occur; update: |after - before| / |before|, all trained
    weights as one vector. What an adapter trains is the matrices that it is added to.
    """

    changed: float
    inside: float
    update: float

    def facts(self) -> Facts:
        return dict(zip(FACTS, (self.changed, self.update), strict=True))

    def cautions(self, what: str, steps: int, learning_rate: float) -> list[str]:
        """A sentence where nearly nothing moved. what: the training."""
        if self.inside >= FEWEST_CHANGED:
            return []
        return [
            f"{what}, {steps} steps with learning_rate {learning_rate:g}, changed only {self.inside:.1%} of the "
            f"weights between the embeddings and moved all by {self.update:.1e} of their norm: most updates are "
            "too small for the weights to take up; try a higher learning rate or more steps"
        ]

    def check(self, step: int) -> None:
        """Raises StageFailed where the weights went so far that nothing is left of the model they began as."""
        if not self.update <= FARTHEST:
            raise StageFailed(
                f"the weights have moved by {self.update:.3g} times their own norm at step {step}, more than the "
                f"{FARTHEST:g} that leave anything of the model: the training has diverged; {ADVICE}"
            )


def of_weights(before: CausalLM, after: CausalLM) -> Change:
    """Of a model trained as a whole, from the one that it began as."""
    ends = {id(after.get_input_embeddings().weight), id(after.get_output_embeddings().weight)}
    parts = zip(before.parameters(), after.parameters(), strict=True)
    return _change((id(new) not in ends, old.detach(), new.detach()) for old, new in parts)


def of_adapter(model: CausalLM, taken_up: torch.dtype) -> Change:
    """Of the matrices under a LoRA adapter, once it is merged and they are rounded to the type `taken_up`, in which
    the next stages hold them."""
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight

    def merged() -> Iterable[tuple[bool, Tensor, Tensor]]:
        for layer in cast("Module", model).modules():
            if isinstance(layer, LoraLayer):
                old = dequantize_module_weight(layer.get_base_layer()).detach().float()
                delta = cast("LoraLinear", layer).get_delta_weight(layer.active_adapters[0]).detach()
                yield True, old, (old + delta).to(taken_up).float()

    return _change(merged())


def _change(parts: Iterable[tuple[bool, Tensor, Tensor]]) -> Change:
    """parts: (whether it lies between the embeddings, before, after) of every trained weight matrix."""
    import torch

    moved, norm, changed, weights = 0.0, 0.0, {True: 0, False: 0}, {True: 0, False: 0}
    for is_inside, old, new in parts:
        moved += float(torch.linalg.vector_norm(new - old, dtype=torch.float64)) ** 2
        norm += float(torch.linalg.vector_norm(old, dtype=torch.float64)) ** 2
        changed[is_inside] += int((new != old).sum())
        weights[is_inside] += old.numel()
    update = math.sqrt(moved / norm) if norm else math.inf
    return Change(sum(changed.values()) / sum(weights.values()), changed[True] / max(1, weights[True]), update)
