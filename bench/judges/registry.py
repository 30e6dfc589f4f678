"""The judges by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from gatebench.bench.judges.api import Judge, Spec
from gatebench.objectives.entry_points import with_third_parties
from gatebench.objectives.names import UnknownWord


def _exact(spec: Spec) -> Judge:
    from gatebench.bench.judges.exact import Exact

    return Exact()


def _endpoint(spec: Spec) -> Judge:
    from gatebench.bench.judges.endpoint import Endpoint

    return Endpoint(spec)


def _reward_model(spec: Spec) -> Judge:
    from gatebench.bench.judges.reward_model import RewardModel

    return RewardModel(spec)


BUILT_IN: dict[str, Callable[[Spec], Judge]] = {
    "exact": _exact, "endpoint": _endpoint, "reward_model": _reward_model,
}  # fmt: skip


@cache
def judges() -> dict[str, Callable[[Spec], Judge]]:
    """What makes a judge, by its kind; ValueError when a third party takes a name that is ours."""
    return with_third_parties("gatebench.judges", BUILT_IN)


def get_maker(kind: str) -> Callable[[Spec], Judge]:
    """What makes a judge of that kind; UnknownWord with the nearest one otherwise."""
    if kind not in judges():
        raise UnknownWord("judge", kind, judges())
    return judges()[kind]


def make_judge(spec: Spec) -> Judge:
    """The judge of a Spec; UnknownWord as `get_maker`."""
    return get_maker(spec.kind)(spec)
