"""Columns of the harness's tokenized pairs that TRL's collator does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Example: TypeAlias = dict[str, object]  # a row of the data, tokenized
Batch: TypeAlias = dict[str, Tensor]  # of TRL's collator: [chosen; rejected] rows
Collator: TypeAlias = Callable[[list[Example]], Batch]
LEARNED = "{}_learned"  # which tokens of a side's ids are learned, where others stand between the assistant's
REFERENCE_TOKENS, CHOSEN_REFERENCE_TOKENS = "ref_rejected_token_logps", "ref_chosen_token_logps"
HARNESS_COLUMNS = (
    REFERENCE_TOKENS,
    CHOSEN_REFERENCE_TOKENS,
    *(LEARNED.format(side) for side in ("chosen", "rejected")),
)


def with_own_columns(collator: Collator, columns: list[str]) -> Collator:
    """TRL's collator, for data that have some of HARNESS_COLUMNS."""
    if LEARNED.format("chosen") in columns:
        collator = _WithLearned(collator)
    for side, column in enumerate((CHOSEN_REFERENCE_TOKENS, REFERENCE_TOKENS)):
        if column in columns:
            collator = _WithReferenceTokens(collator, column, side)
    return collator


def without_tokens(batch: Batch) -> Batch:
    """Without the reference's log-probs of tokens, which TRL's loss would hand to the model."""
    return {name: value for name, value in batch.items() if name not in (REFERENCE_TOKENS, CHOSEN_REFERENCE_TOKENS)}


class _WithLearned:
    """TRL's collator, with completion_mask [2B, T] zero on tokens of a completion that are not the assistant's."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, examples: list[Example]) -> Batch:
        batch = self.collator(examples)
        sides = [example[LEARNED.format(side)] for side in ("chosen", "rejected") for example in examples]
        for row, own in zip(batch["completion_mask"], sides, strict=True):
            places = row.nonzero().squeeze(1)
            row[places] = torch.tensor(own, dtype=row.dtype)[: len(places)]
        return batch


class _WithReferenceTokens:
    """TRL's collator, plus the stored reference log-probs of a side's tokens at their places, [B, T-1].

    side: 0 of the chosen rows, 1 of the rejected ones."""

    def __init__(self, collator: Collator, column: str, side: int) -> None:
        self.collator, self.column, self.side = collator, column, side

    def __call__(self, examples: list[Example]) -> Batch:
        batch = self.collator(examples)
        own = batch["completion_mask"][:, 1:].chunk(2)[self.side]
        placed = torch.zeros(own.shape)
        for row, mask, example in zip(placed, own.bool(), examples, strict=True):
            row[mask] = torch.tensor(example[self.column])[: int(mask.sum())]
        return {**batch, self.column: placed}
