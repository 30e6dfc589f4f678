"""What every judge takes and gives, and the judges by name.

A third party adds one through an entry point of the group `gatebench.judges`, whose value makes a Judge from a Spec.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from objectives.plugins import with_third_parties
from objectives.words import UnknownWord

WIN, TIE, LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Spec:
    """Who judges. model: the name at an endpoint, or a reward model's folder or hub id; content stands for a reward
    model's weights in stage keys; url and key, the environment variable with the endpoint's key, stay out of them."""

    kind: str
    model: str = ""
    content: str = ""
    url: str = field(default="", metadata={"key": False})
    key: str = field(default="", metadata={"key": False})


@dataclass(frozen=True)
class Comparison:
    """A prompt and two answers to it, in the order in which they are shown."""

    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class Verdict:
    """score: WIN, TIE or LOSS of the first answer; None where the judge gave none, and why."""

    score: float | None
    why: str = ""


class Judge(Protocol):
    """ordered: whether the order in which answers are shown can matter, so that both are asked."""

    ordered: bool

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]: ...


def _exact(spec: Spec) -> Judge:
    from bench.judges.exact import Exact

    return Exact()


def _endpoint(spec: Spec) -> Judge:
    from bench.judges.endpoint import Endpoint

    return Endpoint(spec)


def _reward_model(spec: Spec) -> Judge:
    from bench.judges.reward_model import RewardModel

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


def preferred(first: float, second: float) -> Verdict:
    """The verdict where each answer has a number of its own, higher being better."""
    return Verdict(TIE if first == second else WIN if first > second else LOSS)
