"""A user's own file, looked at: which of its columns are prompt, chosen and rejected, and how much it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from gatebench.bench.data.conversation import BadRow
from gatebench.bench.data.pairs import Pair, plain, text_of
from gatebench.bench.data.readers import file_rows
from gatebench.bench.data.rows import OWN_COLUMNS, PROMPT_NAMES, to_pair
from gatebench.bench.errors import UserError
from gatebench.bench.keys import Json

LOOKED_AT = 200  # rows, to recognise columns by
MOST_COUNTED = 100_000  # rows
# parts of what others call the sides; those of the rejected one are looked for first: "dispreferred" holds "preferred"
REJECTED_PARTS = ("reject", "dispreferred", "worse", "worst", "bad", "los", "negative")
CHOSEN_PARTS = ("chosen", "prefer", "better", "best", "good", "win", "accept", "positive")
PROMPT_PARTS = ("prompt", *PROMPT_NAMES)


@dataclass(frozen=True)
class Recognised:
    """columns: ours -> the file's, empty where they are ours; usable, bad: rows; reason: why the first bad one is;
    prompts, responses: their lengths in bytes, the longer side's, ascending."""

    columns: Mapping[str, str]
    usable: int
    bad: int
    reason: str
    prompts: Sequence[int]
    responses: Sequence[int]
    bytes: int  # of the texts that a built-in model is pre-trained on: prompt and side, twice a row


def recognise(file: Path) -> Recognised:
    """Look through a file of pairs. Raises UserError where it cannot be read, or no columns make pairs of its rows."""
    first = [row for _, row in islice(file_rows(file), LOOKED_AT)]
    if not first:
        raise UserError(f"{file}: the file is empty; expected rows with prompt, chosen and rejected")
    columns = max(_candidates(first[0]), key=lambda columns: sum(1 for _ in _readable(first, columns)))
    if not any(True for _ in _readable(first, columns)):
        raise UserError(f"{file}: {_why(first[0])}; its columns: {_names(first[0])}")
    pairs, reasons = list[Pair](), list[str]()
    for place, row in islice(file_rows(file), MOST_COUNTED):
        try:
            pairs.append(to_pair(row, columns))
        except BadRow as error:
            reasons.append(f"{place}: {error.reason}")
    prompts = [len(plain(pair.prompt).encode()) for pair in pairs]
    sides = [[len(text_of(side).encode()) for side in (pair.chosen, pair.rejected)] for pair in pairs]
    read = sum(2 * prompt + sum(both) for prompt, both in zip(prompts, sides, strict=True))
    return Recognised(
        columns, len(pairs), len(reasons), reasons[0] if reasons else "", sorted(prompts), sorted(map(max, sides)), read
    )


def _candidates(row: Json) -> Iterator[dict[str, str]]:
    """Mappings of columns that could be meant, our own names first."""
    yield {}
    if not isinstance(row, Mapping):
        return
    names = [str(name) for name in row]
    rejected = _like(names, REJECTED_PARTS)
    chosen = _like([name for name in names if name not in rejected], CHOSEN_PARTS)
    prompts = _like([name for name in names if name not in (*rejected, *chosen)], PROMPT_PARTS)
    for found in product(prompts or [""], chosen, rejected):
        named = zip(OWN_COLUMNS, found, strict=True)
        yield {ours: theirs for ours, theirs in named if theirs not in ("", ours)}


def _like(names: Sequence[str], parts: Sequence[str]) -> list[str]:
    """The names that hold one of the parts, in the order of the parts."""
    return list(dict.fromkeys(name for part in parts for name in names if part in name.lower()))


def _readable(rows: Iterable[Json], columns: Mapping[str, str]) -> Iterator[Pair]:
    for row in rows:
        try:
            yield to_pair(row, columns)
        except BadRow:
            continue


def _why(row: Json) -> str:
    try:
        to_pair(row)
    except BadRow as error:
        return error.reason
    return "no row can be used"


def _names(row: Json) -> str:
    return ", ".join(map(str, row)) if isinstance(row, Mapping) else "none"
