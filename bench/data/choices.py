"""A local file of right and wrong answers to the same prompts, which a reward has to tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.data.conversation import BadRow
from gatebench.bench.data.pairs import Chat, Message, Response, Text
from gatebench.bench.data.readers import file_rows
from gatebench.bench.data.rows import to_pair
from gatebench.bench.errors import UserError

BOTH = ("chosen", "rejected")


@dataclass(frozen=True)
class Choice:
    """right: at least one answer, wrong: at least one; identity: the row's id, empty where it has none."""

    prompt: Text
    right: tuple[Response, ...]
    wrong: tuple[Response, ...]
    identity: str = ""


def load_choices(path: Path, texts: str = "text", most: int | None = None) -> list[Choice]:
    """The rows of a file (all by default): pairs as everywhere, or in RewardBench 2's form, where chosen and rejected
    are lists of texts. texts: "messages" reads a prompt that is a text as a user's turn.

    Raises UserError for a file that cannot be read or is empty, and for the first bad row: what is left of a benchmark
    would be another one.
    """
    found: list[Choice] = []
    for place, row in file_rows(path):
        if most is not None and len(found) == most:
            break
        try:
            found.append(_choice(row, texts))
        except BadRow as error:
            raise UserError(f"{place}: {error.reason}; a benchmark's row is not left out, so mend it") from None
    if not found:
        raise UserError(f"{path}: no row; expected rows with prompt, chosen and rejected")
    return found


def _choice(row: object, texts: str) -> Choice:
    right: tuple[Response, ...]
    wrong: tuple[Response, ...]
    if not isinstance(row, Mapping) or not any(_is_listed(row.get(side)) for side in BOTH):
        pair = to_pair(row)
        prompt, right, wrong = pair.prompt, (pair.chosen,), (pair.rejected,)
    else:
        sides = {side: row[side] if _is_listed(row.get(side)) else [row.get(side)] for side in BOTH}
        if not all(sides.values()):
            raise BadRow("chosen or rejected has no answer")
        prompt, right = _answers(row, "chosen", sides["chosen"], {"rejected": sides["rejected"][0]})
        _, wrong = _answers(row, "rejected", sides["rejected"], {"chosen": sides["chosen"][0]})
    identity = str(row["id"]) if isinstance(row, Mapping) and row.get("id") is not None else ""
    if texts == "messages" and isinstance(prompt, str):
        turn, ours, theirs = Chat((Message("user", prompt),)), map(_stripped, right), map(_stripped, wrong)
        return Choice(turn, tuple(ours), tuple(theirs), identity)
    return Choice(prompt, right, wrong, identity)


def _answers(row: Mapping[str, object], side: str, answers: list[object], other: Mapping[str, object]) -> tuple[
    Text, tuple[Response, ...]
]:  # fmt: skip
    """The prompt, and the answers of one side; other: an answer of the other side, which makes each of them a pair."""
    pairs = [to_pair({**row, **other, side: answer}) for answer in answers]
    return pairs[0].prompt, tuple(getattr(pair, side) for pair in pairs)


def _is_listed(value: object) -> bool:
    """Whether a side is a list of texts rather than a text or the messages of a conversation."""
    return isinstance(value, list | tuple) and all(isinstance(answer, str) for answer in value)


def _stripped(response: Response) -> Response:
    return response.strip() if isinstance(response, str) else response


def number_of_answers(choices: list[Choice]) -> int:
    return sum(len(choice.right) + len(choice.wrong) for choice in choices)


def numbered(choice: Choice) -> Iterator[tuple[bool, Response]]:
    """Every answer, with whether it is right: the right ones first."""
    yield from ((True, answer) for answer in choice.right)
    yield from ((False, answer) for answer in choice.wrong)
