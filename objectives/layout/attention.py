"""Which position of a row may look at which, where a row holds several texts that are blind to each other.

A row is cut into groups (one a prompt, with all that hangs on it) and a group into segments: 0 is the prompt, 1 ... K
are its branches. A position looks back at its own segment and at its group's prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gatebench.objectives.causal_lm import CausalLM

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

FLEX = "flex_attention"  # transformers' name for it
BLOCK = 128  # positions a side of FlexAttention's blocks
Look = Callable[[Tensor, Tensor | int, Tensor, Tensor], Tensor]


def look(groups: Tensor, segments: Tensor) -> Look:
    """(row, head, i, j) -> whether position i of a row may look at position j; groups, segments: [R, T].

    Padding is a group of its own (-1) and sees itself: a softmax without any place to look at would be NaN.
    """

    def may(row: Tensor, head: Tensor | int, i: Tensor, j: Tensor) -> Tensor:
        own = (segments[row, j] == 0) | (segments[row, j] == segments[row, i])
        return (i >= j) & (groups[row, i] == groups[row, j]) & own

    return may


def dense_mask(groups: Tensor, segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask [R, 1, T, T] for eager and SDPA attention: 0 where a position may look, else the least number."""
    rows, width = groups.shape
    places = torch.arange(width, device=groups.device)
    row = torch.arange(rows, device=groups.device)[:, None, None]
    seen = look(groups, segments)(row, 0, places[:, None], places)
    blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=groups.device)
    return torch.where(seen, torch.zeros((), dtype=dtype, device=groups.device), blocked)[:, None]


def sparse_mask(groups: Tensor, segments: Tensor) -> BlockMask:
    """The same as torch's BlockMask for FlexAttention, which skips the blocks in which nothing looks at anything."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, width = groups.shape
    on_device = groups.device.type == "cuda"  # compiled, the mask never stands in memory position by position
    return create_block_mask(
        look(groups, segments), rows, None, width, width, device=groups.device, BLOCK_SIZE=BLOCK, _compile=on_device
    )


def flex_serves(layout: str | None) -> bool:
    """Whether a layout is trained with FlexAttention here: several pairs a row, on a GPU; it has no backward pass
    elsewhere."""
    return layout == "packed" and torch.cuda.is_available()


def mask_for(model: CausalLM, groups: Tensor, segments: Tensor) -> Tensor | BlockMask:
    """The mask in the form that a transformers model's attention takes; groups, segments: [R, T]."""
    if model.config._attn_implementation == FLEX:
        return sparse_mask(groups, segments)
    return dense_mask(groups, segments, model.dtype)
