"""A toy metric: one decorated function, and nothing else anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebench.bench.metrics.dynamics import DYNAMICS, Probes
from gatebench.bench.metrics.metric import NATS, metric

if TYPE_CHECKING:
    import pandas


@metric(DYNAMICS, title="toy lead", unit=NATS, better="higher", headline=True, tunable=True)
def toy_lead(probes: Probes) -> pandas.Series[float]:
    return probes.change["chosen"] - 2 * probes.change["rejected"]
