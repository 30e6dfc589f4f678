"""Thirds of the probes by what is known of them before any training. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gatebench.bench.analysis.probe_arrays import Measured, cube
from gatebench.bench.metrics.metric import SPLIT_PREFIXES
from gatebench.bench.metrics.registry import place_of

THIRDS = ("low", "middle", "high")


def in_third(
    rows: Sequence[Mapping[int, Measured]], metric: str, strata: str, third: str
) -> list[dict[int, Measured]] | None:
    """The rows of cells, each by seed, with the probes of one third alone; None where no probe has the strata.

    A probe's place is the mean of its ranks over all those cells: models of different width have a CHES of different
    size, and a warm-up of another seed another one. Where the number of probes is not divisible by three, the lower
    thirds have one more; ties stand in the order of the probes.
    """
    split, _ = place_of(metric)
    found = cube(rows, f"{SPLIT_PREFIXES[split]}{strata}")
    if found is None:
        return None
    flat = found.values.reshape(-1, found.values.shape[-1])
    ranks = np.argsort(np.argsort(flat, axis=1, kind="stable"), axis=1, kind="stable").mean(axis=0)
    order = np.argsort(ranks, kind="stable")
    kept = {found.prompts[place] for place in np.array_split(order, len(THIRDS))[THIRDS.index(third)]}
    return [{seed: _only(cell, split, kept) for seed, cell in row.items()} for row in rows]


def _only(cell: Measured, split: str, prompts: set[int]) -> Measured:
    deltas = cell.deltas
    return replace(cell, deltas=deltas[(deltas["split"] == split) & deltas["prompt"].isin(prompts)])
