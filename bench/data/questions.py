"""Questions to be answered and a baseline's answers, from local files in AlpacaEval's and Arena-Hard's own formats.

AlpacaEval: one JSON array of {instruction, output, generator, dataset}. Arena-Hard: {uid, category, prompt} a line, and
answers as {uid, model, messages} whose last message has content.answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from gatebench.bench.data.conversation import BadRow, is_transcript, kind_of, well_formed
from gatebench.bench.data.pairs import ASSISTANT, Chat, Message, Text
from gatebench.bench.data.readers import file_rows
from gatebench.bench.data.toolbox import as_prompt
from gatebench.bench.errors import UserError
from gatebench.objectives.names import nearest

AsRead = TypeVar("AsRead")
QUESTION_KEYS = ("instruction", "prompt")  # AlpacaEval's and Arena-Hard's name of a question
DIFFICULTY = "instruction_difficulty"  # AlpacaEval's name; it publishes the numbers of its questions as a table


@dataclass(frozen=True)
class OpenQuestion:
    """uid: Arena-Hard's, or the place in the file; category: Arena-Hard's, or AlpacaEval's data set; difficulty: as
    AlpacaEval has fitted it, where the file says it."""

    uid: str
    text: str
    category: str = ""
    difficulty: float | None = None


@dataclass(frozen=True)
class Baseline:
    """Answers of one policy, by the questions' uids or by their texts."""

    name: str
    by_uid: Mapping[str, str]
    by_text: Mapping[str, str]

    def answer(self, uid: str, text: str) -> str | None:
        return self.by_uid.get(uid, self.by_text.get(text))


def read_questions(file: Path) -> list[OpenQuestion]:
    """The questions in the order of the file. Raises UserError for a row that is none, and for a uid that is twice."""
    found = [
        _read(row, place, partial(_question, number=number)) for number, (place, row) in enumerate(file_rows(file))
    ]
    ((uid, times),) = Counter(question.uid for question in found).most_common(1) or [("", 0)]
    if times > 1:
        raise UserError(f"{file}: the question {uid!r} stands {times} times; give each a uid of its own")
    if not found:
        raise UserError(f"{file}: no questions; expected AlpacaEval's or Arena-Hard's format")
    return found


def read_baseline(file: Path) -> Baseline:
    """The answers of a file. Raises UserError for a row that is none."""
    rows = [_read(row, place, _answered) for place, row in file_rows(file)]
    if not rows:
        raise UserError(f"{file}: no answers; expected those of AlpacaEval's or Arena-Hard's format")
    name = next((row.name for row in rows if row.name), file.name.split(".")[0])
    return Baseline(
        name,
        {row.uid: row.answer for row in rows if row.uid},
        {row.question: row.answer for row in rows if row.question},
    )


def asked_like(question: str, others: Text) -> Text:
    """The question as the data set writes its prompts, so that a policy is asked in the form that it was trained on: a
    conversation, a transcript, the toolbox's form, or plain text."""
    if isinstance(others, Chat):
        return Chat((Message("user", question),))
    if is_transcript(others):
        return f"\n\nHuman: {question}{ASSISTANT}"
    before, after = as_prompt("\0").split("\0")
    return as_prompt(question) if others.startswith(before) and others.endswith(after) else question


def _read(row: object, place: str, read: Callable[[Mapping[str, object]], AsRead]) -> AsRead:
    try:
        if not isinstance(row, Mapping):
            raise BadRow(f"the row is {kind_of(row)}; expected an object")
        return read(row)
    except BadRow as error:
        raise UserError(f"{place}: {error.reason}") from None


def _question(row: Mapping[str, object], number: int) -> OpenQuestion:
    name = next((key for key in QUESTION_KEYS if key in row), None)
    if name is None:
        raise BadRow(
            f"no key 'instruction' (AlpacaEval) and none 'prompt' (Arena-Hard); {nearest('instruction', map(str, row))}"
        )
    difficulty = row.get(DIFFICULTY)
    if difficulty is not None and (isinstance(difficulty, bool) or not isinstance(difficulty, int | float)):
        raise BadRow(f"'{DIFFICULTY}' is {kind_of(difficulty)}; expected a number")
    category = row.get("category", row.get("dataset", ""))
    return OpenQuestion(
        str(row.get("uid", number)), _text(row[name], name), str(category or ""),
        None if difficulty is None else float(difficulty),
    )  # fmt: skip


class _Answered(NamedTuple):
    """An answer to a question, which is known by its uid or by its text; name: who answered."""

    answer: str
    name: str
    uid: str = ""
    question: str = ""


def _answered(row: Mapping[str, object]) -> _Answered:
    if "messages" in row and "uid" in row:
        turns = row["messages"]
        last = turns[-1] if isinstance(turns, list) and turns else None
        content = last.get("content") if isinstance(last, Mapping) else None
        answer = content.get("answer") if isinstance(content, Mapping) else content
        said = _text(answer, "messages", may_be_empty=True)
        return _Answered(said, str(row.get("model") or ""), uid=_text(row["uid"], "uid"))
    for key in ("instruction", "output"):
        if key not in row:
            raise BadRow(
                f"no key '{key}'; expected AlpacaEval's instruction and output, or Arena-Hard's uid and messages"
            )
    said, question = _text(row["output"], "output", may_be_empty=True), _text(row["instruction"], "instruction")
    return _Answered(said, str(row.get("generator") or ""), question=question)


def _text(value: object, key: str, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise BadRow(f"'{key}' is {kind_of(value)}; expected text")
    if not value.strip() and not may_be_empty:
        raise BadRow(f"'{key}' is empty")
    return well_formed(value, key)
