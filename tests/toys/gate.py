"""A toy gate, in one file: the smallest token probability of the response."""

from __future__ import annotations

import torch
from torch import Tensor


def least(log_probs: Tensor, mask: Tensor) -> Tensor:
    """[B, T], [B, T] -> [B]"""
    return torch.exp(log_probs.masked_fill(mask == 0, 0.0).min(dim=1).values)
