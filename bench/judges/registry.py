"""The judges by name: those of this folder and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from gatebench.bench import judges
from gatebench.bench.judges.api import Judge, JudgeKind, Spec
from gatebench.objectives.entry_points import JUDGE_GROUP, in_folder, with_third_parties
from gatebench.objectives.names import UnknownWord


@cache
def judge_kinds() -> dict[str, JudgeKind]:
    """Every judge by its name; ValueError when a third party takes one that is ours."""
    own = {kind.name: kind for kind in in_folder(judges, "JUDGE", JudgeKind)}
    found: dict[str, JudgeKind | Callable[[Spec], Judge]] = with_third_parties(JUDGE_GROUP, {**own})
    return {name: kind if isinstance(kind, JudgeKind) else JudgeKind(name, kind) for name, kind in found.items()}


def get_judge(name: str) -> JudgeKind:
    """The judge of that name; UnknownWord with the nearest one otherwise."""
    if name not in judge_kinds():
        raise UnknownWord("judge", name, judge_kinds(), JUDGE_GROUP)
    return judge_kinds()[name]


def make_judge(spec: Spec) -> Judge:
    """The judge of a Spec; UnknownWord as `get_judge`."""
    return get_judge(spec.kind).make(spec)
