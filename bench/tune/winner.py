"""Which trials are worth having: the front of a study, and the one of it that is recommended. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.records import CONSTRAINTS, MEASURED, PARAMETERS, SAME_AS, SURPLUS, Winner

if TYPE_CHECKING:
    import optuna


def completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials with metrics; of equal numbers the first."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        t for t in trials if MEASURED in t.user_attrs and SAME_AS not in t.user_attrs and SURPLUS not in t.user_attrs
    ]


def is_feasible(trial: optuna.trial.FrozenTrial) -> bool:
    return all(gap <= 0 for gap in trial.user_attrs.get(CONSTRAINTS, []))


def front(trials: Sequence[optuna.trial.FrozenTrial], maximize: Sequence[str]) -> list[optuna.trial.FrozenTrial]:
    """The trials that no other one matches in every metric and beats in one."""

    def values(trial: optuna.trial.FrozenTrial) -> list[float]:
        return [trial.user_attrs[MEASURED][name] for name in maximize]

    def beats(one: list[float], other: list[float]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    return [t for t in trials if not any(beats(values(other), values(t)) for other in trials)]


def winner(study: optuna.Study, tune: Tune) -> Winner | None:
    """None while no trial is complete. With two metrics: the trial of the front that is nearest to the best of both,
    each measured in units of the front's range."""
    trials = completed(study)
    if not trials:
        return None
    kept = [trial for trial in trials if is_feasible(trial)]
    best_of = front(kept or trials, tune.maximize)
    ranges = [[t.user_attrs[MEASURED][name] for t in best_of] for name in tune.maximize]

    def distance(trial: optuna.trial.FrozenTrial) -> float:
        gaps = (
            (max(values) - trial.user_attrs[MEASURED][name]) / ((max(values) - min(values)) or 1.0)
            for name, values in zip(tune.maximize, ranges, strict=True)
        )
        return math.hypot(*gaps)

    found = min(best_of, key=distance)
    return Winner(found.number, found.user_attrs[PARAMETERS], found.user_attrs[MEASURED], bool(kept))
