"""A cell's answers against those of its warm-up policy and of its ungated twin, by a judge."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.errors import StageFailed
from gatebench.bench.judges.api import OPPONENTS, Comparison, Judge, Verdict
from gatebench.bench.judges.api import Spec as Spec
from gatebench.bench.judges.registry import make_judge
from gatebench.bench.models.source import check_model
from gatebench.bench.stages.generate import first_answers
from gatebench.bench.stages.stage import CAUTIONS, FORWARD, Amount, Facts, Inputs, Report, Stage

if TYPE_CHECKING:
    import pandas

VERSION = 3
VERDICTS_FILE = "verdicts.parquet"


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """verdicts.parquet: prompt, opponent, first and second (the cell's score, 1 for a win and 0.5 for a tie, where its
    answer was shown first and second; missing where the judge gave none), why, tokens and opponent_tokens; of a judge
    that gives numbers also reward and opponent_reward.

    Raises StageFailed where the judge gave no verdict at all.
    """
    import pandas

    if spec.content:
        check_model(spec.model, None, spec.content)
    judge, own = make_judge(spec), first_answers(inputs["own"])
    opponents = [name for name in OPPONENTS if name in inputs]
    frames, reasons = [], Counter[str]()
    for index, name in enumerate(opponents):
        pairs = own.merge(first_answers(inputs[name]), on=["prompt", "text", "messages"], suffixes=("", "_other"))

        def tell(share: float, index: int = index, name: str = name) -> None:
            report((index + share) / len(opponents), f"verdicts against the {name} policy's answers")

        frame, why = _verdicts(judge, pairs, tell)
        frames.append(frame.assign(opponent=name))
        reasons.update(why)
    frame = pandas.concat(frames, ignore_index=True)
    frame.to_parquet(out / VERDICTS_FILE)
    missing = int(frame[["first", "second"]].isna().any(axis=1).sum())
    facts: Facts = {"tokens": 0, "comparisons": len(frame), "missing": missing}
    if missing:
        (reason, _), told = reasons.most_common(1)[0], f"{missing} of {len(frame)} comparisons have no verdict"
        if missing == len(frame):
            raise StageFailed(f"the judge ({spec.kind} {spec.model}): {told}, most often: {reason}")
        facts[CAUTIONS] = [f"judge {spec.kind} {spec.model}: {told}, most often: {reason}"]
    return facts


def _verdicts(
    judge: Judge, pairs: pandas.DataFrame, report: Callable[[float], None]
) -> tuple[pandas.DataFrame, list[str]]:
    import pandas

    rows = list(
        zip(pairs["text"], pairs["response"], pairs["response_other"], map(_turns, pairs["messages"]), strict=True)
    )
    asked = [Comparison(text, own, other, turns) for text, own, other, turns in rows]
    if judge.ordered:
        asked += [Comparison(text, other, own, turns) for text, own, other, turns in rows]
    found = judge(asked, report)
    first = found[: len(rows)]
    second = [_turned(v) for v in found[len(rows) :]] if judge.ordered else first
    why = [a.why or b.why for a, b in zip(first, second, strict=True)]
    frame = pandas.DataFrame({
        "prompt": pairs["prompt"].to_numpy(),
        "first": pandas.Series([v.score for v in first], dtype=float),
        "second": pandas.Series([v.score for v in second], dtype=float),
        "why": why, "tokens": pairs["tokens"].to_numpy(), "opponent_tokens": pairs["tokens_other"].to_numpy(),
    })  # fmt: skip
    if any(v.rewards for v in first):
        both = [v.rewards or (math.nan, math.nan) for v in first]
        frame["reward"], frame["opponent_reward"] = [own for own, _ in both], [other for _, other in both]
    return frame, [reason for reason in why if reason]


def _turns(messages: str) -> tuple[tuple[str, str], ...]:
    return tuple((role, content) for role, content in json.loads(messages))


def _turned(verdict: Verdict) -> Verdict:
    """The verdict from the other answer's side."""
    return verdict if verdict.score is None else Verdict(1.0 - verdict.score)


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    return Amount(1, 0, FORWARD, 0, 0, 0, (spec,), held=0)


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    import pandas

    from gatebench.bench.metrics.verdicts import verdict_metrics

    found = verdict_metrics(pandas.read_parquet(folder / VERDICTS_FILE))
    return found.rename_axis("prompt").reset_index().assign(split="judge")


STAGE = Stage("judge", VERSION, Spec, run, amount, facts=("comparisons", "missing"), by_prompt=by_prompt)
