"""The field of weights that a control gate draws on, the same however a batch is cut into micro-batches and processes.

The field of a step is made of the weights g of the gate that the control refers to, under the policy as it is at the
beginning of the step, of every pair of the effective batch: all its micro-batches, of all processes, in the order in
which one process would see them. An effective batch of fewer than MIN_FIELD pairs (a small one, or the last of an
epoch) is followed by the pairs of the steps before, the latest first, until they are MIN_FIELD; their weights are those
of their own step. At the first steps there may be fewer: the field is what there is, and the control of an effective
batch of one pair begins as the gate itself.

    constant    every pair's weight is the mean of the field
    shuffled    the field is permuted once a step, by seed and step; each pair takes what has come to its place

A gate with a weight a token has the tokens of those pairs in its field, in order. Here a pair's weights are a vector:
of one number, or of one a response token. An evaluation has no gradient to gate; its field is the batch it is handed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

MIN_FIELD = 8  # pairs
Pairs = Sequence[Tensor]  # each [1] or [tokens]


@dataclass(frozen=True)
class Field:
    """weights: [N] of the effective batch, then of pairs before it; starts: where each micro-batch of this process
    begins in it."""

    weights: Tensor
    starts: tuple[int, ...]


def in_order(processes: Sequence[Sequence[Pairs]]) -> list[Pairs]:
    """Micro-batches by process -> in the order in which one process would see them: the samplers deal them in turn."""
    return [micro for turn in zip(*processes, strict=True) for micro in turn]


def make_field(
    processes: Sequence[Sequence[Pairs]], process: int, before: Pairs = (), device: torch.device | None = None
) -> Field:
    """The field of a step. processes: its micro-batches by process, equally many each; process: this one's number;
    before: pairs of the steps before, the latest last; device: of the field, by default that of the pairs."""
    micros = in_order(processes)
    batch = [pair for micro in micros for pair in micro]
    ends = list(accumulate(sum(pair.numel() for pair in micro) for micro in micros))
    missing = max(0, MIN_FIELD - len(batch))
    recent = reversed(before[-missing:] if missing else ())
    weights = torch.cat([pair.to(device or pair.device) for pair in (*batch, *recent)])
    return Field(weights, tuple([0, *ends][process : len(micros) : len(processes)]))


def latest(processes: Sequence[Sequence[Pairs]], before: Pairs) -> list[Tensor]:
    """What a later step may need of this one and of those before: the latest pairs, the latest last, on the CPU."""
    found = [*before, *(pair for micro in in_order(processes) for pair in micro)][1 - MIN_FIELD :]
    return [pair.cpu().clone() for pair in found]


def per_pair(g: Tensor, mask: Tensor) -> list[Tensor]:
    """Weights [B] or [B, T] of a micro-batch -> a vector a pair, without the padding of mask [B, T]."""
    if g.dim() == 1:
        return list(torch.split(g, 1))
    return list(torch.split(g[mask.bool()], mask.sum(dim=1).tolist()))


def constant(field: Field, pairs: int) -> Tensor:
    """The mean of the field for each of the pairs, [B]; 1 where the field has no token."""
    return field.weights.new_ones(pairs) * (field.weights.mean() if field.weights.numel() else 1.0)


def shuffled(field: Field, micro: int, g: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """The weights of the permuted field at the places of the micro-batch g, [B] or [B, T]."""
    places = mask.bool() if g.dim() == 2 else torch.ones_like(g, dtype=torch.bool)
    order = torch.randperm(field.weights.numel(), generator=generator).to(g.device)
    first = field.starts[micro]
    return g.masked_scatter(places, field.weights[order[first : first + int(places.sum())]])


def small_batch_caution(kind: str, pairs_a_batch: int) -> str | None:
    """A sentence where the effective batch is one pair, else None; kind: of the control."""
    if pairs_a_batch > 1:
        return None
    return (
        f"gate {kind}: the effective batch is one pair, so what it draws on are the weights of {MIN_FIELD} steps, this "
        "and those before, and at the first step it is the gate itself; a larger batch_size makes it a control of the "
        "policy as it is"
    )
