"""A cell's answers against those of its warm-up policy, of its ungated twin and of a baseline, by a judge."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import CHANGED, file_digest
from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.judges.api import OPPONENTS, Comparison, Judge, Verdict
from gatebench.bench.judges.api import Spec as Spec
from gatebench.bench.judges.registry import make_judge
from gatebench.bench.models.source import check_model
from gatebench.bench.stages.generate import first_answers
from gatebench.bench.stages.stage import CAUTIONS, FORWARD, Amount, Facts, Inputs, Report, Stage

if TYPE_CHECKING:
    import pandas

VERSION = 3
VERDICTS_FILE, BASELINE_FILE = "verdicts.parquet", "baseline.parquet"
OF_QUESTIONS = ("text", "uid", "question", "category", "difficulty")


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """verdicts.parquet: prompt, opponent, first and second (the cell's score, 1 for a win and 0.5 for a tie, where its
    answer was shown first and second; missing where the judge gave none), why, tokens and opponent_tokens; of a judge
    that knows degrees also first_much and second_much, of one that gives numbers reward and opponent_reward.
    baseline.parquet: its answers, of those asked; name.

    Raises StageFailed where the judge, unless it is people, gave no verdict at all, and where the baseline has none of
    the answers.
    """
    import pandas

    _check_content(spec)
    judge, own = make_judge(spec), first_answers(inputs["own"])
    answers = {name: first_answers(inputs[name]) for name in OPPONENTS if name in inputs}
    unanswered = ""
    if spec.baseline:
        answers["baseline"], unanswered = _of_baseline(spec, own)
        answers["baseline"].to_parquet(out / BASELINE_FILE)
    frames, reasons, opponents = [], Counter[str](), list(answers)
    for index, name in enumerate(opponents):
        pairs = own.merge(answers[name], on=["prompt", "text", "messages"], suffixes=("", "_other"))

        def tell(share: float, index: int = index, name: str = name) -> None:
            report((index + share) / len(opponents), f"verdicts against the {name} policy's answers")

        frame, why = _verdicts(judge, pairs, tell)
        frames.append(frame.assign(opponent=name))
        reasons.update(why)
    frame = pandas.concat(frames, ignore_index=True)
    frame.to_parquet(out / VERDICTS_FILE)
    missing = int(frame[["first", "second"]].isna().any(axis=1).sum())
    facts: Facts = {"tokens": 0, "comparisons": len(frame), "missing": missing}
    cautions = [unanswered] if unanswered else []
    if missing:
        (reason, _), told = reasons.most_common(1)[0], f"{missing} of {len(frame)} comparisons have no verdict"
        who = " ".join(filter(None, (spec.kind, spec.model)))
        # votes that are not there now never will be in these: with more of them it is another stage
        if missing == len(frame) and not spec.votes:
            raise StageFailed(f"the judge ({who}): {told}, most often: {reason}")
        cautions.append(f"judge {who}: {told}, most often: {reason}")
    return {**facts, **({CAUTIONS: cautions} if cautions else {})}


def _check_content(spec: Spec) -> None:
    """Raise UserError where a reward model, votes or a baseline are not what was planned with."""
    if spec.content and not spec.votes:
        check_model(spec.model, None, spec.content)
    for file, content in ((spec.votes, spec.content), (spec.baseline, spec.baseline_content)):
        if file and file_digest(file) != content:
            raise UserError(f"{file}: {CHANGED}")


def _of_baseline(spec: Spec, own: pandas.DataFrame) -> tuple[pandas.DataFrame, str]:
    """The baseline's answers to the cell's prompts as a table of answers, and a sentence where some are missing."""
    import pandas

    from gatebench.bench.data.questions import read_baseline

    found = read_baseline(Path(spec.baseline))
    uids, texts = own.get("uid", own["prompt"].astype(str)), own.get("question", own["text"])
    answers = [found.answer(uid, text) for uid, text in zip(uids, texts, strict=True)]
    frame = own[["prompt", "text", "messages"]].assign(
        response=pandas.Series(answers, own.index, dtype=object), tokens=float("nan"), name=found.name
    )
    left = int(frame["response"].isna().sum())
    sentence = f"the baseline {Path(spec.baseline).name} has no answer to {left} of {len(own)} prompts"
    if left == len(own):
        raise StageFailed(f"{sentence}; expected answers to the very questions that are asked")
    return frame.dropna(subset="response"), sentence if left else ""


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
    found = judge(asked, report) if asked else []
    first = found[: len(rows)]
    second = [_turned(v) for v in found[len(rows) :]] if judge.ordered else first
    why = [a.why or b.why for a, b in zip(first, second, strict=True)]
    frame = pandas.DataFrame({
        "prompt": pairs["prompt"].to_numpy(),
        "first": pandas.Series([v.score for v in first], dtype=float),
        "second": pandas.Series([v.score for v in second], dtype=float),
        "why": why, "tokens": pairs["tokens"].to_numpy(), "opponent_tokens": pairs["tokens_other"].to_numpy(),
    })  # fmt: skip
    if any(verdict.much is not None for verdict in found):
        frame = frame.assign(first_much=[v.much is True for v in first], second_much=[v.much is True for v in second])
    if any(v.rewards for v in first):
        both = [v.rewards or (math.nan, math.nan) for v in first]
        frame["reward"], frame["opponent_reward"] = [own for own, _ in both], [other for _, other in both]
    return frame, [reason for reason in why if reason]


def _turns(messages: str) -> tuple[tuple[str, str], ...]:
    return tuple((role, content) for role, content in json.loads(messages))


def _turned(verdict: Verdict) -> Verdict:
    """The verdict from the other answer's side."""
    return verdict if verdict.score is None else Verdict(1.0 - verdict.score, much=verdict.much)


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    return Amount(1, 0, FORWARD, 0, 0, 0, (spec,), held=0)


def judged_answers(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    """The verdicts with the texts that they are about (response, opponent_response), as far as these are still there,
    and what is known of the questions."""
    import pandas

    verdicts = pandas.read_parquet(folder / VERDICTS_FILE)
    answers = {name: first_answers(inputs[name]) for name in OPPONENTS if name in inputs}
    if (folder / BASELINE_FILE).exists():
        answers["baseline"] = pandas.read_parquet(folder / BASELINE_FILE)
    if "own" not in inputs or not set(verdicts["opponent"]) <= set(answers):
        return verdicts
    own = first_answers(inputs["own"])
    own = own[[name for name in ("prompt", "response", *OF_QUESTIONS) if name in own]]
    others = pandas.concat([
        frame[["prompt", "response"]].assign(opponent=name) for name, frame in answers.items()
    ])  # fmt: skip
    others = others.rename(columns={"response": "opponent_response"})
    return verdicts.merge(own, on="prompt").merge(others, on=["prompt", "opponent"])


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:

    from gatebench.bench.metrics.verdicts import verdict_metrics

    found = verdict_metrics(judged_answers(folder, inputs))
    return found.rename_axis("prompt").reset_index().assign(split="judge")


STAGE = Stage("judge", VERSION, Spec, run, amount, facts=("comparisons", "missing"), by_prompt=by_prompt)
