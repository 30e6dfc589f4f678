"""A toy judge with a parameter of its own, in one file: the longer answer wins by more than `slack` characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gatebench.bench.judges.api import TIE, Comparison, JudgeKind, Spec, Verdict, preferred


@dataclass(frozen=True)
class Slack:
    slack: int = 0

    def __post_init__(self) -> None:
        if self.slack < 0:
            raise ValueError(f"slack {self.slack} is below 0")


class Longest:
    ordered = False

    def __init__(self, spec: Spec) -> None:
        assert isinstance(spec.parameters, Slack)
        self.slack = spec.parameters.slack

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]:
        report(1.0)
        return [
            Verdict(TIE) if abs(len(c.first) - len(c.second)) <= self.slack else preferred(len(c.first), len(c.second))
            for c in comparisons
        ]


JUDGE = JudgeKind("toy_longest", Longest, parameters=Slack)
