"""Whether a trial is worth its remaining steps, from what the trials before it were at the same rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.records import RUNG
from gatebench.bench.tune.winner import is_feasible

if TYPE_CHECKING:
    import optuna

FEWEST = 5  # completed trials at a rung before one is measured against them
CLOSE = 0.02  # of a metric's range at the rung


def is_hopeless(trial: optuna.Trial, tune: Tune, step: int, metrics: Mapping[str, float]) -> bool:
    """With one metric Optuna's pruner decides; it knows no two, so there what completed trials were does."""
    from optuna.trial import TrialState

    if tune.pruner == "none":
        return False
    if len(tune.maximize) == 1:
        trial.report(metrics[tune.maximize[0]], step)
        return trial.should_prune()
    rung = f"{RUNG}{step}"
    others = [
        other for other in trial.study.get_trials(deepcopy=False)
        if other.number != trial.number and rung in other.user_attrs
    ]  # fmt: skip
    whole = [t.state == TrialState.COMPLETE and is_feasible(t) for t in others]
    values = [[t.user_attrs[rung][name] for name in tune.maximize] for t in others]
    return adds_nothing([metrics[name] for name in tune.maximize], values, whole)


def adds_nothing(own: Sequence[float], others: Sequence[Sequence[float]], whole: Sequence[bool]) -> bool:
    """Whether a completed trial was, at this rung, as good in every metric or closely so: such a trial would add
    nothing to the front (epsilon-dominance; Laumanns et al. 2002, def. 4), while one that trades one metric for
    another lives on.

    own: the trial's metrics; others: those of every other trial at the rung; whole: which of them are completed.
    """
    if sum(whole) < FEWEST:
        return False
    values = np.asarray([*others, own])
    close = CLOSE * np.ptp(values, axis=0)
    return bool((values[:-1][np.asarray(whole)] >= values[-1] - close).all(axis=1).any())
