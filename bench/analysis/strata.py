"""Parts of the probes by what is known of them before any training: thirds, or the kinds of their pairs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gatebench.bench.analysis.probe_arrays import Cube, Measured, cube
from gatebench.bench.data.pairs import NEAR_MISS, WORDED_APART
from gatebench.bench.metrics.metric import SPLIT_PREFIXES
from gatebench.bench.metrics.registry import place_of
from gatebench.bench.suite.claims import KIND, KIND_METRIC

THIRDS = ("low", "middle", "high")
PAIR_KINDS = (WORDED_APART, NEAR_MISS)


def parts_of(strata: str) -> tuple[str, ...]:
    """The parts that strata make of the probes."""
    return PAIR_KINDS if strata == KIND else tuple(f"{third} {strata}" for third in THIRDS)


def in_part(
    rows: Sequence[Mapping[int, Measured]], metric: str, strata: str, part: str
) -> list[dict[int, Measured]] | None:
    """The rows of cells, each by seed, with the probes of one part alone; None where no probe has the strata.

    A probe's place is the mean of its ranks over all those cells: models of different width have a CHES of different
    size, and a warm-up of another seed another one. Where the number of probes is not divisible by three, the lower
    thirds have one more; ties stand in the order of the probes.
    """
    split, _ = place_of(metric)
    found = cube(rows, f"{SPLIT_PREFIXES[split]}{KIND_METRIC if strata == KIND else strata}")
    if found is None:
        return None
    if strata == KIND:
        mine = found.values[0, 0] == PAIR_KINDS.index(part)
        kept = {prompt for prompt, own in zip(found.prompts, mine, strict=True) if own}
    else:
        kept = _third(found, parts_of(strata).index(part))
    return [{seed: _only(cell, split, kept) for seed, cell in row.items()} for row in rows]


def _third(found: Cube, third: int) -> set[int]:
    flat = found.values.reshape(-1, found.values.shape[-1])
    ranks = np.argsort(np.argsort(flat, axis=1, kind="stable"), axis=1, kind="stable").mean(axis=0)
    order = np.argsort(ranks, kind="stable")
    return {found.prompts[place] for place in np.array_split(order, len(THIRDS))[third]}


def of_kind(cell: Measured, kind: str) -> Measured:
    """A cell with the probes of one kind of pair alone; with none where its data set does not mark them."""
    deltas = cell.deltas
    if KIND_METRIC not in deltas:
        return replace(cell, deltas=deltas[:0], tasks={})
    marked = deltas[deltas[KIND_METRIC] == PAIR_KINDS.index(kind)]
    kept = set(zip(marked["split"], marked["prompt"], strict=True))
    own = [place in kept for place in zip(deltas["split"], deltas["prompt"], strict=True)]
    return replace(cell, deltas=deltas[own], tasks={})


def _only(cell: Measured, split: str, prompts: set[int]) -> Measured:
    deltas = cell.deltas
    return replace(cell, deltas=deltas[(deltas["split"] == split) & deltas["prompt"].isin(prompts)])
