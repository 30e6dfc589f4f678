"""What people are asked to vote on: two answers to one prompt, and nothing that tells whose they are."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebench.bench.errors import UserError
from gatebench.bench.judged.comparisons import Judged
from gatebench.bench.judges.api import LOSS, OPPONENTS, TIE, WIN
from gatebench.bench.judges.votes import Vote, VotedOn, score_of_earlier, texts_of
from gatebench.bench.plan.graph import Cell, Plan, point_of
from gatebench.bench.stages.generate import first_answers
from gatebench.bench.stages.judge import BASELINE_FILE
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, order=True)
class Ballot:
    """first, second: in the order of the alphabet, as votes are kept (`judges.votes.texts_of`)."""

    prompt: str
    first: str
    second: str

    def turned_for(self, rater: str) -> bool:
        """Whether the rater sees the second answer on the left: by chance, and the same whenever they are asked."""
        return random.Random("\0".join((rater, self.prompt, self.first, self.second))).random() < 0.5


def make_ballots(plan: Plan, store: Store, against: str, most: int) -> list[Ballot]:
    """Pairs of answers of cells and of one opponent (`OPPONENTS`), drawn by chance from all that differ; of several
    samples the first, as judges compare them. The same, in the same order, for every rater, so that two of them vote on
    the same ones. Raises UserError where there are none.
    """
    found: dict[Ballot, None] = {}
    for cell in plan.cells:
        key = cell.stages.get("generate")
        other = _opponent(cell, plan, store, against) if key and store.is_finished("generate", key) else None
        if key is None or other is None:
            continue
        store.check("generate", key)
        found |= dict.fromkeys(_pairs(first_answers(store.path("generate", key)), other))
    if not found:
        raise UserError(
            f"{plan.suite}: no two answers to vote on; run it with evaluate.generate, or give another --against than "
            f"{against} (one of {', '.join(OPPONENTS)})"
        )
    ballots = sorted(found)
    random.Random(0).shuffle(ballots)
    return ballots[:most]


def _opponent(cell: Cell, plan: Plan, store: Store, against: str) -> pandas.DataFrame | None:
    """The answers of a cell's opponent, None where there are none yet."""
    import pandas

    if against == "baseline":
        key = cell.stages.get("judge", "")
        file = store.path("judge", key) / BASELINE_FILE
        if not key or not store.is_finished("judge", key) or not file.exists():
            return None
        store.check("judge", key)
        return pandas.read_parquet(file)
    if against == "warmup":
        key = store.inputs("generate", cell.stages["generate"])["start"].name
    else:
        place = (*point_of(cell.axes())[:-1], cell.seed)
        twins = (
            other for other in plan.cells if not other.gated and (*point_of(other.axes())[:-1], other.seed) == place
        )
        twin = next(twins, None) if cell.gated else None
        if twin is None:
            return None
        key = twin.stages["generate"]
    if not store.is_finished("generate", key):
        return None
    store.check("generate", key)
    return first_answers(store.path("generate", key))


def _pairs(own: pandas.DataFrame, other: pandas.DataFrame) -> Iterator[Ballot]:
    both = own.merge(other, on=["prompt", "text"], suffixes=("", "_other"))
    for text, ours, theirs in zip(both["text"], both["response"], both["response_other"], strict=True):
        if ours.strip() != theirs.strip():
            yield Ballot(text, *sorted((ours, theirs)))


def scores_of_judges(judged: Iterable[Judged]) -> dict[str, dict[VotedOn, float]]:
    """What judges said of answers as votes would: by judge, by texts (`texts_of`), the score of the first of these. A
    win in one order and a loss in the other is a tie."""
    found: dict[str, dict[VotedOn, float]] = {}
    for one in judged:
        own = found.setdefault(one.judge, {})
        for row in one.rows.dropna(subset=["first", "second"]).to_dict("records"):
            win = (row["first"] + row["second"]) / 2
            score = TIE if win == TIE else WIN if win > TIE else LOSS
            vote = Vote(one.judge, row["text"], row["response"], row["opponent_response"], score)
            if vote.first != vote.second:
                own[texts_of(vote)] = score_of_earlier(vote)
    return found
