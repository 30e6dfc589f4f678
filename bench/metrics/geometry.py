"""What the pairs of the probes are like before any training: the same for all cells after one warm-up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebench.bench.metrics.metric import SHARE, Source, Variant, metric

if TYPE_CHECKING:
    import pandas

SQUARED_STATES = "squared hidden states"
# A geometry stage's table, a row a (split, prompt).
GEOMETRY: Source[pandas.DataFrame] = Source(
    "geometry", (("train", Variant()), ("test", Variant("test_", "held-out {}")))
)


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
