"""Every metric by the name that it has in `summary.json`, and the lists that others take from them.

A metric is one decorated function in the file of its source (`dynamics`, `geometry`, `answers`, `verdicts`,
`rewards`), once.
lm-eval's own metrics (`tasks`) are named by its tasks and known only after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gatebench.bench.metrics import answers, dynamics, geometry, rewards, verdicts
from gatebench.bench.metrics.metric import REGISTERED, SPLIT_PREFIXES, AnyMetric, Source, Variant
from gatebench.bench.metrics.tasks import TASK_PREFIX, task_metric
from gatebench.objectives.names import UnknownWord

_OURS = (
    dynamics.DYNAMICS,
    geometry.GEOMETRY,
    answers.ANSWERS,
    verdicts.VERDICTS,
    rewards.REWARDS,
)  # in the order in which tables show them


def sources() -> list[Source[Any]]:
    """Ours, then those of other packages."""
    return list(dict.fromkeys([*_OURS, *(found.source for found in REGISTERED.values())]))


def _named() -> Iterator[tuple[str, AnyMetric, Variant, Variant]]:
    """(name, metric, variant of the split, variant) of all."""
    for source in sources():
        for _, split in source.splits:
            for variant in source.variants:
                for metric in source.metrics():
                    yield f"{split.prefix}{variant.prefix}{metric.name}", metric, split, variant


def names(wanted: Callable[[AnyMetric], bool] = lambda metric: True) -> list[str]:
    """The names of all metrics, or of those that are wanted."""
    return [name for name, metric, _, _ in _named() if wanted(metric)]


def headline() -> list[str]:
    """What every table of results shows: of training prompts, then of answers and verdicts where a suite has them."""
    first = {source: source.splits[0][1] for source in sources()}
    return [
        name for name, metric, split, variant in _named()
        if metric.headline and variant.leads and split == first[metric.source]
    ]  # fmt: skip


def held_out() -> list[str]:
    """What such a table shows of held-out prompts beside the headline."""
    return [
        name for name, metric, split, _ in _named()
        if metric.source == dynamics.DYNAMICS and metric.held_out and split.prefix
    ]  # fmt: skip


def measured_always() -> list[str]:
    """The headline metrics that every finished cell has."""
    return [name for name in headline() if get_metric(name).source == dynamics.DYNAMICS]


def reported() -> list[str]:
    """What a report shows of every point and cell where it is there; the headline comes first, then
    what stands beside it of held-out prompts."""
    first = [*headline(), *held_out()]
    return [*first, *(name for name in names(lambda metric: metric.reported) if name not in first)]


def higher_is_better() -> list[str]:
    """Of the headline, those of which more is an improvement."""
    return [name for name in headline() if get_metric(name).better == "higher"]


def tunable() -> list[str]:
    """What a search can be asked for: measured on training prompts at every rung."""
    first = {source: source.splits[0][1] for source in sources()}
    return [
        name for name, metric, split, variant in _named()
        if metric.tunable and variant.leads and split == first[metric.source]
    ]  # fmt: skip


def published() -> list[str]:
    """What tables of published results have."""
    return [metric.name for metric in dynamics.DYNAMICS.metrics() if metric.published]


def drawn_as_curves() -> list[str]:
    """What is drawn as a curve through training."""
    return [metric.name for metric in dynamics.DYNAMICS.metrics() if metric.drawn]


def get_metric(name: str) -> AnyMetric:
    """The metric of a name of `summary.json`; UnknownWord with the nearest one otherwise, and ValueError as
    `task_metric`."""
    if name.startswith(TASK_PREFIX):
        return task_metric(name)
    for own, metric, _, _ in _named():
        if own == name:
            return metric
    raise UnknownWord("metric", name, names())


def title(name: str) -> str:
    """How a table says a metric's name; the name itself where it is none of ours (lm-eval's)."""
    for own, metric, split, variant in _named():
        if own == name:
            return split.words.format(variant.words.format(metric.title))
    return name


def place_of(name: str) -> tuple[str, str]:
    """(split, column) of a metric in a table by prompt."""
    split = next((split for split, prefix in SPLIT_PREFIXES.items() if prefix and name.startswith(prefix)), "train")
    return split, name.removeprefix(SPLIT_PREFIXES[split])
