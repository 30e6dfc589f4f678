"""A third party's judge with a parameter of its own, in one file: the shorter answer wins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gatebench.bench.judges.api import TIE, Comparison, JudgeKind, Spec, Verdict, preferred


@dataclass(frozen=True)
class Concise:
    """strictness: the share of the longer answer by which they have to differ, in [0, 1)."""

    strictness: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.strictness < 1:
            raise ValueError(f"strictness {self.strictness} is no share; write one in [0, 1)")


class ConciseJudge:
    ordered = False

    def __init__(self, spec: Spec) -> None:
        self.strictness = spec.parameters.strictness

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]:
        return [self._judged(len(comparison.first), len(comparison.second)) for comparison in comparisons]

    def _judged(self, first: int, second: int) -> Verdict:
        near = abs(first - second) <= self.strictness * max(first, second)
        return Verdict(TIE) if near else preferred(-first, -second)


JUDGE = JudgeKind("concise", ConciseJudge, parameters=Concise)
