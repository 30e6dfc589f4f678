"""The answers of all cells to one prompt, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from gatebench.bench.errors import UserError
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.store.store import Store


@dataclass(frozen=True)
class Sample:
    """who: a cell, or the reference policy that cells started from; passed: graded exactly, where the data are."""

    who: str
    response: str
    finish_reason: str
    passed: bool | None


def samples(plan: Plan, store: Store, prompt: int) -> tuple[str, list[Sample]]:
    """The prompt's text, and the answers to it: each reference policy's before those of its cells.

    Raises UserError where no cell has answered, or none was asked this prompt.
    """
    import pandas

    found: dict[str, Sample] = {}
    text, asked = "", 0
    for cell in plan.cells:
        key = cell.stages.get("generate")
        if key is None or not store.is_finished("generate", key):
            continue
        start = next(k for role, _, k in plan.nodes[key].inputs if role == "start")
        policy = f"{cell.model}/{cell.dataset}/{cell.warmup} warm-up"
        for place, who in ((start, policy), (key, cell.id)):
            frame = pandas.read_parquet(store.path("generate", place) / ANSWERS_FILE)
            asked = max(asked, int(frame["prompt"].max()) + 1)
            for row in frame[frame["prompt"] == prompt].to_dict("records"):
                text = row["text"]
                passed = bool(row["passed"]) if "passed" in row else None
                found.setdefault(who, Sample(who, row["response"], row["finish_reason"], passed))
    if not asked:
        raise UserError(f"{plan.suite}: no cell has answers; give the suite evaluate.generate and run it")
    if not found:
        raise UserError(f"prompt {prompt}: not asked; expected a number below {asked}")
    return text, list(found.values())
