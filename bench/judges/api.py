"""What every judge takes and gives.

A new judge is one file in this folder that ends in `JUDGE = JudgeKind(name, make, ...)`; one of another package is the
same behind an entry point of the group `gatebench.judges` (or just a function that makes a Judge from a Spec).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

WIN, TIE, LOSS = 1.0, 0.5, 0.0
# a cell's answers are compared with those of its warm-up policy, its ungated twin, and a baseline's from a file
OPPONENTS = ("warmup", "ungated", "baseline")


@dataclass(frozen=True)
class Spec:
    """Who judges. model: the name at an endpoint, or a reward model's folder or hub id; content stands for a reward
    model's weights, or for the file of votes, in stage keys; url and key, the environment variable with the endpoint's
    key, stay out of them. parameters: a frozen dataclass of the kind's own, where it has one. baseline: a file of
    answers to compare with as well, for which baseline_content stands in keys."""

    kind: str
    model: str = ""
    content: str = ""
    url: str = field(default="", metadata={"key": False})
    key: str = field(default="", metadata={"key": False})
    parameters: object = field(default=None, metadata={"key": "given"})
    votes: str = field(default="", metadata={"key": False})
    baseline: str = field(default="", metadata={"key": False})
    baseline_content: str = field(default="", metadata={"key": "given"})


@dataclass(frozen=True)
class Comparison:
    """A prompt and two answers to it, in the order in which they are shown. messages: ((role, content), ...) where the
    prompt is a conversation, which `prompt` has as one text."""

    prompt: str
    first: str
    second: str
    messages: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """score: WIN, TIE or LOSS of the first answer, or a share between them of a judge that says how sure it is; None
    where the judge gave none, and why. much: whether it is much better or worse, None of a judge that knows no such
    degrees; rewards: the numbers that the first and the second answer have by themselves, of a judge that gives
    such."""

    score: float | None
    why: str = ""
    much: bool | None = None
    rewards: tuple[float, float] | None = None


class Judge(Protocol):
    """ordered: whether the order in which answers are shown can matter, so that both are asked."""

    ordered: bool

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]: ...


@dataclass(frozen=True)
class JudgeKind:
    """A judge as a suite names it.

    needs: of model, url and votes, what a suite has to give; weights: whether `model` is a folder or hub id whose
    content counts; exact: whether it needs data with exact grading; parameters: a frozen dataclass of further keys
    """

    name: str
    make: Callable[[Spec], Judge]
    needs: tuple[str, ...] = ()
    weights: bool = False
    exact: bool = False
    parameters: type | None = None

    @property
    def own_keys(self) -> tuple[str, ...]:
        """The keys of a suite's `judge` block that are this kind's alone."""
        return tuple(own.name for own in fields(self.parameters)) if self.parameters else ()


def preferred(first: float, second: float) -> Verdict:
    """The verdict where each answer has a number of its own, higher being better."""
    return Verdict(TIE if first == second else WIN if first > second else LOSS)
