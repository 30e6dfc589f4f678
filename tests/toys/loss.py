"""A toy loss, in one file; its line in a registry is an entry point's (`tests/example_plugin` has one installed)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatebench import Loss, PairLogProbs


@dataclass(frozen=True)
class Hinge:
    """margin: nats by which chosen should lead."""

    margin: float = 1.0


def hinge(pairs: PairLogProbs, parameters: Hinge) -> Tensor:
    """L = max(0, margin - h); [B] in nats."""
    return torch.relu(parameters.margin - pairs.margin)


LOSS = Loss("toy_hinge", hinge, Hinge)
