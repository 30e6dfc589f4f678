"""What a judge keeps: one verdict a comparison, in order, and the same when it is asked again."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from gatebench.bench import keys
from gatebench.bench.judges.api import LOSS, WIN, Comparison, Judge, JudgeKind, Spec, Verdict
from gatebench.bench.suite.recipes import JudgeRecipe

COMPARISONS = (
    Comparison("Which is better?", "a longer answer", "short"), Comparison("Which is better?", "short", "a longer one"),
    Comparison("Which?", "same", "same"), Comparison("Which of these?", "", "an answer"),
)  # fmt: skip


class JudgeConformance:
    """Fixtures: kind; where it needs more than its name, spec (as a suite would resolve it); where the built-in ones do
    not suit it, comparisons."""

    @pytest.fixture
    def kind(self) -> JudgeKind:
        raise NotImplementedError

    @pytest.fixture
    def spec(self, kind: JudgeKind) -> Spec:
        return Spec(kind.name, parameters=kind.parameters() if kind.parameters else None)

    @pytest.fixture
    def comparisons(self) -> tuple[Comparison, ...]:
        return COMPARISONS

    @pytest.fixture
    def judge(self, kind: JudgeKind, spec: Spec) -> Judge:
        return kind.make(spec)

    def test_it_says_what_a_suite_has_to_give(self, kind):
        assert re.fullmatch(r"\w+", kind.name)
        assert set(kind.needs) <= {"model", "url", "votes"}
        assert not set(kind.own_keys) & {field.name for field in fields(JudgeRecipe)}

    def test_parameters_of_its_own_are_frozen_and_have_a_place_in_the_key(self, kind, spec):
        plain = keys.digest(Spec(kind.name, spec.model, spec.content))
        if kind.parameters is None:
            assert keys.digest(spec) == plain
            return
        assert is_dataclass(kind.parameters)
        assert kind.parameters.__dataclass_params__.frozen
        assert isinstance(spec.parameters, kind.parameters)
        assert keys.digest(spec) != plain

    def test_it_gives_a_verdict_a_comparison(self, judge, comparisons):
        found = judge(comparisons, ignore)
        assert len(found) == len(comparisons)
        for verdict in found:
            assert isinstance(verdict, Verdict)
            assert verdict.score is None or LOSS <= verdict.score <= WIN
            assert bool(verdict.why) is (verdict.score is None)  # why there is none

    def test_the_verdicts_are_in_the_order_of_the_comparisons(self, judge, comparisons):
        assert scores(judge, comparisons[::-1]) == scores(judge, comparisons)[::-1]

    def test_asked_again_it_says_the_same(self, judge, comparisons):
        assert judge(comparisons, ignore) == judge(comparisons, ignore)

    def test_one_that_does_not_look_at_the_order_turns_with_the_answers(self, judge, comparisons):
        assert isinstance(judge.ordered, bool)
        turned = scores(judge, [Comparison(c.prompt, c.second, c.first) for c in comparisons])
        if not judge.ordered:
            assert turned == [None if score is None else 1 - score for score in scores(judge, comparisons)]

    def test_it_tells_how_far_it_is_in_shares(self, judge, comparisons):
        told: list[float] = []
        judge(comparisons, told.append)
        assert all(0 <= share <= 1 for share in told)
        assert told == sorted(told)

    def test_asked_nothing_it_says_nothing(self, judge):
        assert judge([], ignore) == []


def ignore(share: float) -> None:
    pass


def scores(judge: Judge, comparisons: Any) -> list[float | None]:
    return [verdict.score for verdict in judge(list(comparisons), ignore)]
