"""A number that is none says that a model is broken: averaged over the rest, nobody would see it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gatebench.bench.errors import StageFailed


def check_finite(log_probs: Iterable[float], what: str) -> None:
    """Raises StageFailed where a log-prob is not a finite number; what: they are the log-probs of, in the plural."""
    values = list(log_probs)
    broken = sum(not math.isfinite(value) for value in values)
    if broken:
        raise StageFailed(
            f"{broken} of {len(values)} {what} have a log-prob that is not a finite number: the weights are broken, or "
            "the activations overflow; try float32 or a lower learning rate"
        )
