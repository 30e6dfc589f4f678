"""People as judge: the votes that `bench vote` kept, on the very texts that are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gatebench.bench.judges.api import TIE, Comparison, JudgeKind, Spec, Verdict, preferred
from gatebench.bench.judges.votes import by_texts, read_votes


class Human:
    """Several raters of the same texts count as one: the answer that more of them prefer wins."""

    ordered = False

    def __init__(self, spec: Spec) -> None:
        self.found = by_texts(read_votes(Path(spec.votes)))

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]:
        return [self._judged(comparison) for comparison in comparisons]

    def _judged(self, asked: Comparison) -> Verdict:
        if asked.first == asked.second:
            return Verdict(TIE)
        earlier, later = sorted((asked.first, asked.second))
        given = self.found.get((asked.prompt, earlier, later))
        if given is None:
            return Verdict(None, "no vote on these answers; `bench vote` asks for more")
        mean = sum(given) / len(given)
        return preferred(mean, 1 - mean) if asked.first == earlier else preferred(1 - mean, mean)


JUDGE = JudgeKind("human", Human, needs=("votes",))
