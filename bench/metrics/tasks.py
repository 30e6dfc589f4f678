"""lm-eval's own metrics, with its standard errors and by item: they are named by its tasks and belong to no prompt of
ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from gatebench.bench.metrics.metric import Metric, Source

if TYPE_CHECKING:
    import pandas

TASK_PREFIX = "lm_eval/"
ValueWithError = tuple[float, float | None]  # a metric and its standard error, where lm-eval gives one
ByItem = Mapping[str, "pandas.Series[float]"]  # name of a metric -> its values by item
ITEM_DIGITS = 15  # of a document's hash: as many as fit into 64 bits
TASKS: Source[ByItem] = Source("lm_eval", ())
Logged: TypeAlias = Mapping[str, Any]  # what lm-eval writes of a run or of a document


def task_metrics(results: Logged) -> dict[str, ValueWithError]:
    """lm-eval's results -> lm_eval/TASK/METRIC -> (value, standard error where it gives one). A filter other than
    "none" stays in the name."""
    found: dict[str, ValueWithError] = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, _, way = key.partition(",")
            if not way or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{way}")
            found[_name(task, metric, way)] = (float(value), float(error) if isinstance(error, int | float) else None)
    return found


def sample_rows(samples: Mapping[str, Sequence[Logged]]) -> Iterator[dict[str, object]]:
    """lm-eval's per-sample logs -> a row a metric that is a number: name, item, value.

    item: a number that a document has by its content, so that a question is the same item wherever it is asked; equal
    documents of a task are told apart by their order.
    """
    for task, logged in samples.items():
        seen: dict[tuple[str, str], int] = {}
        for sample in logged:
            way, document = str(sample["filter"]), str(sample["doc_hash"])
            before = seen[way, document] = seen.get((way, document), -1) + 1
            item = int(document[:ITEM_DIGITS], 16) + before
            for metric in sample["metrics"]:
                value = sample[metric]
                if isinstance(value, int | float) or getattr(value, "ndim", None) == 0:
                    yield {"name": _name(task, metric, way), "item": item, "value": float(value)}


def task_items(rows: pandas.DataFrame, values: Mapping[str, ValueWithError]) -> dict[str, pandas.Series[float]]:
    """The metrics whose value is the mean over their items, by item: others, as an F1 over all, cannot be paired."""
    found = {}
    for name, own in rows.groupby("name"):
        series = own.set_index("item")["value"].sort_index()
        value, _ = values.get(str(name), (math.nan, None))
        if math.isclose(float(series.mean()), value, rel_tol=1e-9, abs_tol=1e-12):
            found[str(name)] = series
    return found


def task_metric(name: str) -> Metric[ByItem]:
    """A metric of lm-eval's by its name, as claims ask for it. Raises ValueError for one that is not of its form."""
    if not all(name.split("/")) or len(name.split("/")) < 3:
        raise ValueError(f"{name!r} is no metric of lm-eval's; expected {TASK_PREFIX}TASK/METRIC, as lm_eval/piqa/acc")
    return Metric(name, name, "as lm-eval has it", TASKS, lambda items: items.get(name))


def _name(task: str, metric: str, way: str) -> str:
    return f"{TASK_PREFIX}{task}/{metric}" if way == "none" else f"{TASK_PREFIX}{task}/{metric}/{way}"
