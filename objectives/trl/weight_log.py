"""The weights of a gate since the last line of a training's log: their mean, quantiles and share of nearly closed ones.

Of all pairs of all micro-batches and processes together, so that a line says the same however its batches were cut.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Module

from gatebench.objectives.gates import CLOSED, quantiles

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Mode = Literal["train", "eval"]  # TRL's


def mode_of(model: Module) -> Mode:
    return "train" if model.training else "eval"


class WeightLog:
    def __init__(self) -> None:
        self.seen: defaultdict[Mode, list[Tensor]] = defaultdict(list)
        self.chosen: defaultdict[Mode, list[Tensor]] = defaultdict(list)

    def add(self, mode: Mode, g: Tensor) -> None:
        """g: weights of one micro-batch over all processes, any shape; NaN counts as none."""
        self.seen[mode].append(g[~g.isnan()].float().cpu())

    def add_chosen(self, mode: Mode, g: Tensor) -> None:
        """The same of the chosen side, where it has weights."""
        self.chosen[mode].append(g[~g.isnan()].float().cpu())

    def take(self, mode: Mode) -> dict[str, float]:
        """gate/* of what was added since the last time; empty where nothing was."""
        parts, chosen = self.seen.pop(mode, []), self.chosen.pop(mode, [])
        if not sum(map(len, parts)):
            return {}
        g = torch.cat(parts)
        found = {"gate/mean": g.mean().item(), "gate/closed": (g < CLOSED).float().mean().item()}
        for level, value in zip(QUANTILES, quantiles(g, QUANTILES), strict=True):
            found[f"gate/q{round(100 * level):02d}"] = value
        if sum(map(len, chosen)):
            found["gate/chosen_mean"] = torch.cat(chosen).mean().item()
        return found
