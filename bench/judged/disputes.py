"""Which prompts to read first: those over whose answers the judge, or the log-probs, say the most different things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from gatebench.bench.analysis.samples import Answering
from gatebench.bench.metrics.verdicts import OPPONENT_TITLES
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.stages.judge import VERDICTS_FILE
from gatebench.bench.store.store import Store

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class AnsweredCell:
    """A cell with the keys of its answers and of their verdicts, where it has some."""

    cell: Answering
    generate: str
    judge: str | None = None


@dataclass(frozen=True)
class Dispute:
    """A prompt by its number, and why it is worth reading."""

    number: int
    why: str = ""


def most_disputed(cells: Sequence[AnsweredCell], store: Store, most: int) -> list[Dispute]:
    """The prompts of one data set, the most disputed first: by turns that over which the judge's verdicts on the cells
    lie furthest apart, and that over which the log-probs of the cells' own answers do (the standard deviation over
    cells); where nothing differs, in their own order. Raises Unsound for files that are not what the store wrote."""
    import pandas

    answers, verdicts = [], []
    for answered in cells:
        store.check("generate", answered.generate)
        frame = pandas.read_parquet(store.path("generate", answered.generate) / ANSWERS_FILE)
        answers.append(frame.assign(cell=answered.cell.id))
        if answered.judge and store.is_finished("judge", answered.judge):
            store.check("judge", answered.judge)
            frame = pandas.read_parquet(store.path("judge", answered.judge) / VERDICTS_FILE)
            verdicts.append(frame.assign(cell=answered.cell.id))
    if not answers:
        return []
    found: dict[int, Dispute] = {}
    in_order = (Dispute(number) for number in sorted({int(n) for frame in answers for n in frame["prompt"]}))
    ranked = zip_longest(_of_verdicts(verdicts), _of_log_probs(answers))
    for dispute in chain((one for pair in ranked for one in pair if one), in_order):
        found.setdefault(dispute.number, dispute)
    return list(found.values())[:most]


def _of_verdicts(frames: Sequence[pandas.DataFrame]) -> list[Dispute]:
    import pandas

    if not frames:
        return []
    rows = pandas.concat(frames, ignore_index=True)
    rows = rows.assign(value=(rows["first"] + rows["second"]) / 2).dropna(subset="value")
    return [
        Dispute(
            number, f"The judge: {low:g} to {high:g} {OPPONENT_TITLES[opponent].format('wins')} over {cells} cells."
        )
        for number, opponent, low, high, cells in _ranked(rows)
    ]


def _of_log_probs(frames: Sequence[pandas.DataFrame]) -> list[Dispute]:
    import pandas

    rows = pandas.concat(frames, ignore_index=True)
    if "log_prob" not in rows:
        return []
    rows = rows.assign(value=rows["log_prob"] / (rows["tokens"] + 1), opponent="")  # the end is a token as well
    return [
        Dispute(number, f"Log-probs of the answers: {low:.2f} to {high:.2f} nats a token over {cells} cells.")
        for number, _, low, high, cells in _ranked(rows)
    ]


def _ranked(rows: pandas.DataFrame) -> Iterator[tuple[int, str, float, float, int]]:
    """(prompt, opponent, lowest, highest, cells) where cells have different values, the furthest apart first, and equal
    ones by number. A cell's value is the mean of its samples."""
    by_cell = rows.groupby(["prompt", "opponent", "cell"])["value"].mean()
    found = by_cell.groupby(level=["prompt", "opponent"]).agg(["std", "min", "max", "count"]).reset_index()
    kept = found[found["std"] > 0].sort_values(["std", "prompt"], ascending=[False, True], kind="stable")
    for row in kept.to_dict("records"):
        yield int(row["prompt"]), str(row["opponent"]), float(row["min"]), float(row["max"]), int(row["count"])
