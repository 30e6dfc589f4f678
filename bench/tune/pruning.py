"""Whether a trial is worth its remaining steps, from what the trials before it were at the same rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.tune.block import Tune

if TYPE_CHECKING:
    import optuna

FEWEST = 5  # trials at a rung before one is measured against them


def is_hopeless(trial: optuna.Trial, tune: Tune, step: int, metrics: Mapping[str, float]) -> bool:
    """With one metric Optuna's pruner decides; it knows no two, so there the median of both does."""
    if tune.pruner == "none":
        return False
    if len(tune.maximize) == 1:
        trial.report(metrics[tune.maximize[0]], step)
        return trial.should_prune()
    others = [
        [other.user_attrs[f"rung {step}"][name] for name in tune.maximize]
        for other in trial.study.get_trials(deepcopy=False)
        if other.number != trial.number and f"rung {step}" in other.user_attrs
    ]
    return below_median([metrics[name] for name in tune.maximize], others)


def below_median(own: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether a trial is below the others' median in every metric: a trial that trades one for the other lives on."""
    if len(others) < FEWEST:
        return False
    return bool((np.asarray(own) < np.median(np.asarray(others), axis=0)).all())
