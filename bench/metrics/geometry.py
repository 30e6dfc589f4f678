"""What the pairs of the probes are like before any training: the same for all cells after one warm-up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatebench.bench.metrics.metric import SHARE, Source, Variant, metric

if TYPE_CHECKING:
    import pandas

SQUARED_STATES = "squared hidden states"
# A geometry stage's table, a row a (split, prompt).
GEOMETRY: Source[pandas.DataFrame] = Source(
    "geometry", (("train", Variant()), ("test", Variant("test_", "held-out {}")))
)


def share_edited(first: Sequence[int], second: Sequence[int]) -> float:
    """How many tokens to put in, leave out or replace to make one response of the other (Levenshtein 1966), as a share
    of the longer one: 0 for equal ones, 1 for two without a token in common."""
    above = list(range(len(second) + 1))
    for row, token in enumerate(first, 1):
        left, here = row, [row]
        for column, other in enumerate(second, 1):
            left = min(above[column] + 1, left + 1, above[column - 1] + (token != other))
            here.append(left)
        above = here
    return above[-1] / max(len(first), len(second), 1)


@metric(GEOMETRY, title="edit distance", unit=SHARE, reported=True)
def edit_distance(pairs: pandas.DataFrame) -> pandas.Series[float]:
    return pairs["edit_distance"]


@metric(GEOMETRY, title="near misses", unit=SHARE)
def near_miss(pairs: pandas.DataFrame) -> pandas.Series[float] | None:
    """1 where the data set says that the sides are a near miss, 0 where that they are worded apart."""
    return pairs["near_miss"] if pairs["near_miss"].notna().any() else None


@metric(GEOMETRY, title="CHES", unit=SQUARED_STATES)
def ches(pairs: pandas.DataFrame) -> pandas.Series[float]:
    return pairs["ches"]


@metric(GEOMETRY, title="CHES by length", unit=SQUARED_STATES, reported=True)
def ches_normalised(pairs: pandas.DataFrame) -> pandas.Series[float]:
    return pairs["ches_normalised"]


@metric(GEOMETRY, title="gradient cosine", unit=SHARE, reported=True)
def gradient_cosine(pairs: pandas.DataFrame) -> pandas.Series[float]:
    """Of the chosen and the rejected log-prob on the head."""
    return pairs["gradient_cosine"]


@metric(GEOMETRY, title="gradient norm ratio", unit="rejected to chosen", reported=True)
def gradient_norm_ratio(pairs: pandas.DataFrame) -> pandas.Series[float]:
    return pairs["gradient_norm_ratio"]
