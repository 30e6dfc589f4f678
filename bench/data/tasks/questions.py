"""The questions of the shipped lm-eval tasks: of the toolbox, and none that any suite trains or tests on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

from gatebench.bench.data import toolbox
from gatebench.bench.data.toolbox_questions import Question, question

if TYPE_CHECKING:
    from datasets import Dataset

QUESTIONS = 500
SEED = 1  # another stream than that of the suites
TAKEN = 40_000  # of the suites' stream, more than training, test and corpus take


class ChoiceRow(TypedDict):
    """gold: index of the right one of the choices."""

    prompt: str
    choices: list[str]
    gold: int


def choices(**_: object) -> dict[str, Dataset]:
    """A ChoiceRow a question, the right answer and its near misses shuffled."""
    return _split([_choice(asked) for asked in _asked()])


def answers(**_: object) -> dict[str, Dataset]:
    """prompt and answer."""
    return _split([{"prompt": toolbox.as_prompt(asked.instruction), "answer": asked.answer} for asked in _asked()])


def graded(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
    """lm-eval's hook: the toolbox's own grading of a free answer."""
    return {"exact_match": float(toolbox.grade(doc["prompt"], results[0]))}


def _asked() -> Iterator[Question]:
    taken = set(islice(toolbox.instructions(0), TAKEN))
    fresh = (text for text in toolbox.instructions(SEED) if text not in taken)
    return (question(text) for text in islice(fresh, QUESTIONS))


def _choice(asked: Question) -> ChoiceRow:
    options = [asked.answer, *asked.misses]
    random.Random(asked.instruction).shuffle(options)
    texts = [toolbox.sentence(asked, option, "plain") for option in options]
    return {
        "prompt": toolbox.as_prompt(asked.instruction), "choices": texts, "gold": options.index(asked.answer),
    }  # fmt: skip


def _split(rows: Sequence[Mapping[str, object]]) -> dict[str, Dataset]:
    from datasets import Dataset

    return {"test": Dataset.from_list(rows)}
