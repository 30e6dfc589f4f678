"""A study's own figures, drawn by Optuna: the front, the response surface, what mattered."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.records import MEASURED
from gatebench.bench.tune.winner import completed
from gatebench.dashboards.figures import Figure

if TYPE_CHECKING:
    import optuna
    from plotly import graph_objects


def draw(study: optuna.Study, tune: Tune, what: str) -> list[Figure]:
    """[{title, alt, spec}], plotly specifications; empty before two trials are complete. what: was tuned, in words."""
    from optuna import visualization

    trials = completed(study)
    if len(trials) < 2:
        return []
    names = list(trials[0].params)
    metric = tune.maximize[0]
    found: list[tuple[str, str, graph_objects.Figure]] = []
    if len(tune.maximize) > 1:
        found.append(("Front of the trials", "Every trial by both metrics, the undominated ones marked",
                      visualization.plot_pareto_front(study, target_names=tune.maximize)))  # fmt: skip

    def target(trial: optuna.trial.FrozenTrial) -> float:
        return float(trial.user_attrs[MEASURED][metric])

    def negated(trial: optuna.trial.FrozenTrial) -> float:
        return -target(trial)  # Optuna asks what makes this number low

    if len(names) > 1:
        pair = [name for name in ("percentile", "tau", "kappa", "alpha", *names) if name in names][:2]
        found.append((f"Response surface of {metric}", f"{metric} over {' and '.join(pair)}",
                      visualization.plot_contour(study, params=pair, target=target, target_name=metric)))  # fmt: skip
        found.append((f"What mattered for {metric}", f"Importance of each number for {metric}",
                      visualization.plot_param_importances(study, target=negated, target_name=metric)))  # fmt: skip
    return [
        {"title": f"Tuning the {what}: {title}", "alt": alt, "spec": _plain(figure)} for title, alt, figure in found
    ]


def _plain(figure: graph_objects.Figure) -> Figure:
    """The specification without plotly's template, which the report's own style replaces, and with plain numbers."""
    spec: Figure = json.loads(figure.to_json())
    for given, trace in zip(figure.data, spec["data"], strict=True):
        if given["type"] == "contour":  # plotly packs its numbers into bytes that only plotly.js reads
            trace["z"] = [[None if math.isnan(value) else float(value) for value in row] for row in given["z"]]
    spec["layout"].pop("template", None)
    return spec
