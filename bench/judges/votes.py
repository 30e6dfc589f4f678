"""People's votes as `bench vote` keeps them: one JSON object a line, with the texts that were voted on, so that they
stay votes on these texts whatever is trained again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from gatebench.bench.errors import UserError, at
from gatebench.bench.judges.api import LOSS, TIE, WIN
from gatebench.bench.store.files import append_json

VotedOn = tuple[str, str, str]  # a prompt and two answers, these in order


@dataclass(frozen=True)
class Vote:
    """first, second: the answers, in no order that a rater could know; score: of the first, WIN, TIE or LOSS."""

    rater: str
    prompt: str
    first: str
    second: str
    score: float


def append_vote(file: Path, vote: Vote) -> None:
    append_json(file, asdict(vote))


def read_votes(place: Path) -> list[Vote]:
    """The votes of a file, or of all .jsonl files of a folder. Of several by one rater on the same texts the last
    counts. Raises UserError."""
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    found: dict[tuple[str, VotedOn], Vote] = {}
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            if line.strip():
                vote = _vote(line, file, number)
                found[vote.rater, texts_of(vote)] = vote
    return list(found.values())


def texts_of(vote: Vote) -> VotedOn:
    """What was voted on, the answers in the order of the alphabet."""
    return (vote.prompt, *sorted((vote.first, vote.second)))  # type: ignore[return-value]


def score_of_earlier(vote: Vote) -> float:
    """The score of the answer that is first in `texts_of`."""
    return vote.score if vote.first <= vote.second else 1.0 - vote.score


def by_texts(votes: Iterable[Vote]) -> dict[VotedOn, list[float]]:
    """What raters gave the answer that is first in `texts_of`, by texts."""
    found: dict[VotedOn, list[float]] = {}
    for vote in votes:
        found.setdefault(texts_of(vote), []).append(score_of_earlier(vote))
    return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); expected votes as `bench vote` writes them") from None


def _vote(line: str, file: Path, number: int) -> Vote:
    try:
        vote = Vote(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        raise UserError(
            f"{at(file, number)} not a vote; expected an object with rater, prompt, first, second and score"
        ) from None
    texts = (vote.rater, vote.prompt, vote.first, vote.second)
    if not all(isinstance(text, str) for text in texts) or vote.score not in (WIN, TIE, LOSS):
        raise UserError(f"{at(file, number)} not a vote; expected four texts and a score of 1, 0.5 or 0")
    return vote
