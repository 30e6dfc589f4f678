"""The answers of every cell to the same prompts, beside those of the policy they started from."""

from __future__ import annotations

from dataclasses import dataclass

from gatebench.bench.analysis.summary import CellResult, Summary
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.store.store import Store

PROMPTS = 20  # shown in a report
LONGEST = 600  # characters of an answer shown


@dataclass(frozen=True)
class Answer:
    """cell: whose answer it is, None for the reference policy; passed: graded exactly, None where it cannot be."""

    who: str
    cell: CellResult | None
    text: str
    finish_reason: str
    passed: bool | None


@dataclass(frozen=True)
class Asked:
    number: int
    prompt: str
    answers: tuple[Answer, ...]


def side_by_side(summary: Summary, store: Store, prompts: int = PROMPTS) -> list[Asked]:
    """The first prompts with all answers to them; empty where the suite generates none."""
    import pandas

    texts: dict[tuple[str, int], str] = {}
    found: dict[tuple[str, int], list[Answer]] = {}
    shown: set[str] = set()
    for cell in summary.finished:
        if "generate" not in cell.stages:
            continue
        key = cell.stages["generate"].key
        start = store.manifest("generate", key)["inputs"]["start"]
        policy = f"{cell.model}/{cell.dataset}/{cell.warmup} warm-up"
        for place, who, of in ((start, policy, None), (key, cell.id, cell)):
            if place in shown:
                continue
            shown.add(place)
            frame = pandas.read_parquet(store.path("generate", place) / ANSWERS_FILE)
            for row in frame[frame["prompt"] < prompts].to_dict("records"):
                at = (cell.dataset, int(row["prompt"]))
                texts[at] = row["text"]
                passed = bool(row["passed"]) if "passed" in row else None
                response = row["response"]
                text = response if len(response) <= LONGEST else response[:LONGEST] + " …"
                found.setdefault(at, []).append(Answer(who, of, text, row["finish_reason"], passed))
    return [Asked(number, texts[dataset, number], tuple(answers)) for (dataset, number), answers in sorted(
        found.items(), key=lambda item: item[0])]  # fmt: skip
