"""Whether two raters of the same answers say the same: Cohen's kappa with its interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from gatebench.bench.analysis.statistics import LEVEL
from gatebench.bench.analysis.table import Table, interval, numbers, row, texts
from gatebench.bench.judges.api import LOSS, TIE, WIN

SCORES = (WIN, TIE, LOSS)
Rated = TypeVar("Rated", bound=Hashable)  # what is judged


@dataclass(frozen=True)
class Kappa:
    """both: how many answers both have judged; agreed: the share of which they said the same; kappa: with lo and hi,
    missing where chance alone would make them agree always (both always say the same one thing)."""

    first: str
    second: str
    both: int
    agreed: float
    kappa: float | None
    lo: float | None
    hi: float | None


def agreements(scores: Mapping[str, Mapping[Rated, float]]) -> list[Kappa]:
    """Of every two raters who have judged some of the same. scores: by rater, by what was judged."""
    found = []
    for first, second in combinations(scores, 2):
        shared = [key for key in scores[first] if key in scores[second]]
        if shared:
            pairs = [(scores[first][key], scores[second][key]) for key in shared]
            found.append(Kappa(first, second, len(pairs), *cohens_kappa(pairs)))
    return found


def cohens_kappa(pairs: list[tuple[float, float]]) -> tuple[float, float | None, float | None, float | None]:
    """(the share that agrees, kappa, lo, hi) of the scores that two raters gave the same answers (Cohen 1960).

    The interval is that of the share (Wilson 1927), with the chance agreement as it was found. The usual large-sample
    error (Fleiss, Cohen & Everitt 1969) is 0 where all agree, and too small for few answers.
    """
    from scipy import stats

    table = np.array([[sum(pair == (ours, theirs) for pair in pairs) for theirs in SCORES] for ours in SCORES])
    total = len(pairs)
    shares = table / total
    agreed, chance = float(np.trace(shares)), float(shares.sum(axis=1) @ shares.sum(axis=0))
    if chance == 1:
        return agreed, None, None, None
    z = float(stats.norm.isf((1 - LEVEL) / 2))
    middle = (agreed + z * z / 2 / total) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(agreed * (1 - agreed) / total + (z / 2 / total) ** 2)
    value, lo, hi = ((share - chance) / (1 - chance) for share in (agreed, middle - half, middle + half))
    return agreed, value, max(-1.0, lo), min(1.0, hi)


def kappa_table(found: list[Kappa]) -> Table:
    rows = tuple(
        row(one.first, one.second, str(one.both), f"{one.agreed:.2f}",
            "" if one.kappa is None else f"{one.kappa:.2f}", interval(one.lo, one.hi))
        for one in found
    )  # fmt: skip
    head = (*texts("rater", "and"), *numbers("judged by both", "agree", "Cohen's kappa", "95 %"))
    return Table("Do raters agree?", head, rows, "Wins, ties and losses of the same answers. Kappa is 0 at what chance "
                 "alone would give, and 1 where all agree.")  # fmt: skip
