"""Rows of unlike length in as few rows of a batch as they fit into, each blind to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gatebench.objectives.causal_lm import CausalLM

IGNORED = -100


@dataclass(frozen=True)
class Row:
    """Token ids, how many of the first ones are context that is not learned, and which of the others are learned."""

    ids: list[int]
    context: int = 0
    learned: list[bool] | None = None

    @property
    def labels(self) -> list[int]:
        """The ids, IGNORED where they are not learned; nothing of a row predicts its first token."""
        ignored = max(1, self.context)
        own = self.learned or [True] * len(self.ids[ignored:])
        return [IGNORED] * ignored + [
            t if is_own else IGNORED for t, is_own in zip(self.ids[ignored:], own, strict=True)
        ]


Collate = Callable[[Sequence[Row]], "dict[str, Tensor]"]


def collator(model: CausalLM, rows: Sequence[Row]) -> tuple[Collate, str | None]:
    """Packs where that saves rows and the model was proven to keep them apart, else pads; the sentence that says why it
    cannot. rows: all that will come."""
    from gatebench.objectives.causal_lm import without_adapter
    from gatebench.objectives.layout import shared_prompt

    network = without_adapter(model)
    shown = _telling(rows)
    if shown is None:
        return padded, None
    caution = _caution(network, shown)
    dtype = network.dtype

    def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
        bins = shared_prompt.pack([len(row.ids) for row in rows])
        return padded(rows) if len(bins) == len(rows) else packed([[rows[i] for i in some] for some in bins], dtype)

    return (padded, caution) if caution else (collate, None)


def _telling(rows: Sequence[Row]) -> list[list[Row]] | None:
    """The longest row by itself, and the longest that shares a row of that length with the shortest; None if none
    can, so that nothing is ever packed."""
    by_length = sorted((Row(row.ids) for row in rows if len(row.ids) > 1), key=lambda row: -len(row.ids))
    if len(by_length) < 3:
        return None
    longest, *others, shortest = by_length
    second = next((row for row in others if len(row.ids) + len(shortest.ids) <= len(longest.ids)), None)
    return None if second is None else [[longest], [second, shortest]]


def _caution(network: CausalLM, bins: Sequence[Sequence[Row]]) -> str | None:
    from gatebench.objectives.layout import proof
    from gatebench.objectives.layout.shared_prompt import target_log_probs

    def fast() -> Tensor:
        inputs = {name: values.to(network.device) for name, values in packed(bins, network.dtype).items()}
        labels = inputs.pop("labels")[:, 1:]
        learned = labels != IGNORED
        return target_log_probs(network(**inputs, use_cache=False).logits[:, :-1][learned].float(), labels[learned])

    texts = [(row.ids[:1], row.ids[1:]) for some in bins for row in some]
    reason = proof.doubt(network, texts, fast, max(sum(len(row.ids) for row in some) for some in bins))
    return f"packing: {reason}; rows are padded instead" if reason else None


def padded(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Right-padded input_ids, attention_mask and labels [B, T], IGNORED where nothing is learned."""
    import torch

    width = max(len(row.ids) for row in rows)
    mask = [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
    ids, labels = zip(*(_filled([row], width)[:2] for row in rows), strict=True)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": torch.tensor(labels)}


def packed(bins: Sequence[Sequence[Row]], dtype: torch.dtype) -> dict[str, Tensor]:
    """input_ids, position_ids and labels [B, T] with the rows of each bin one after another, and an additive
    attention_mask [B, 1, T, T] by which each sees itself alone. The tokens that are learned are those of `padded`."""
    import torch

    from gatebench.objectives.layout.attention import dense_mask

    width = max(sum(len(row.ids) for row in some) for some in bins)
    ids, labels, positions, segments = zip(*(_filled(some, width) for some in bins), strict=True)
    groups = torch.tensor(segments)
    return {
        "input_ids": torch.tensor(ids), "labels": torch.tensor(labels), "position_ids": torch.tensor(positions),
        "attention_mask": dense_mask(groups, torch.zeros_like(groups), dtype),
    }  # fmt: skip


def _filled(rows: Sequence[Row], width: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Ids, labels, positions and segments (1 ... K, -1 padding) of rows in one of `width` tokens."""
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    segments: list[int] = []
    for number, row in enumerate(rows, 1):
        ids += row.ids
        labels += row.labels
        positions += range(len(row.ids))
        segments += [number] * len(row.ids)
    gap = width - len(ids)
    return ids + [0] * gap, labels + [IGNORED] * gap, positions + [0] * gap, segments + [-1] * gap
