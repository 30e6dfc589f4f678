"""lm-eval's own metrics, with its own standard errors: they are named by its tasks and belong to no prompt of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TASK_PREFIX = "lm_eval/"
ValueWithError = tuple[float, float | None]  # a metric and its standard error, where lm-eval gives one


def task_metrics(results: Mapping[str, Any]) -> dict[str, ValueWithError]:
    """lm-eval's results -> lm_eval/TASK/METRIC -> (value, standard error where it gives one). A filter other than
    "none" stays in the name."""
    found: dict[str, ValueWithError] = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, _, way = key.partition(",")
            if not way or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{way}")
            name = f"{TASK_PREFIX}{task}/{metric}" if way == "none" else f"{TASK_PREFIX}{task}/{metric}/{way}"
            found[name] = (float(value), float(error) if isinstance(error, int | float) else None)
    return found
