"""The toolbox's own grading: an answer that is right beats one that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatebench.bench.data.toolbox import grade
from gatebench.bench.judges.api import Comparison, JudgeKind, Verdict, preferred


class Exact:
    ordered = False

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]:
        return [preferred(grade(c.prompt, c.first), grade(c.prompt, c.second)) for c in comparisons]


JUDGE = JudgeKind("exact", lambda spec: Exact(), exact=True)
