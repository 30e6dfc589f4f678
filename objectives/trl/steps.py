"""What an optimizer step takes together, and what processes tell each other of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from gatebench.objectives.controls import Field
from gatebench.objectives.pairs import EffectiveBatch
from gatebench.objectives.trl.collators import Batch

T = TypeVar("T")


@dataclass
class Step:
    """batches: of this process, one a micro-batch; micro: at which of them the loss is; fields: what a control draws
    on, of the rejected and of the chosen side; alpha: rc's; effective: the step's batch over all processes; rows: for
    each of batches, what a loss took of that, [B, K]. The last four are made when first asked for."""

    batches: list[Batch]
    micro: int = -1
    fields: tuple[Field | None, Field | None] | None = None
    alpha: float | None = None
    effective: EffectiveBatch | None = None
    rows: list[Tensor] | None = None

    def effective_batch(self, accelerator: Accelerator) -> EffectiveBatch | None:
        """The step's batch over all micro-batches and processes; None where this process takes it at once."""
        if len(self.batches) == 1 and accelerator.num_processes == 1:
            return None
        if self.effective is None:
            masks = [batch["completion_mask"][: len(batch["completion_mask"]) // 2, 1:] for batch in self.batches]
            counts = torch.stack([torch.tensor([len(m), int(m.sum())]) for m in masks]).sum(dim=0)
            counts = accelerator.reduce(counts.to(accelerator.device), "sum")
            self.effective = EffectiveBatch(int(counts[0]), counts[1])
        return self.effective


def of_all_processes(accelerator: Accelerator, micros: list[list[Tensor]]) -> list[list[list[Tensor]]]:
    """The micro-batches of every process, a vector a pair; on several processes they are handed over by the CPU."""
    if accelerator.num_processes == 1:
        return [micros]
    return gathered([[pair.cpu().clone() for pair in micro] for micro in micros])


def gathered(value: T) -> list[T]:
    """The value of every process, in the order of their numbers."""
    found: list[T | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return cast("list[T]", found)


def gathered_rows(accelerator: Accelerator, rows: Tensor) -> Tensor:
    """[N, M] of every process under each other, filled up with NaN where they are narrower or fewer than others'; of an
    evaluation's last batch without the rows that a sampler repeats."""
    for dim in (0, 1):
        rows = accelerator.pad_across_processes(rows, dim=dim, pad_index=float("nan"))
    found: Tensor = accelerator.gather_for_metrics(rows)
    return found
