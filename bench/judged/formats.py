"""Judged answers in the file formats of AlpacaEval and Arena-Hard, so that their own tools read them. Pure.

AlpacaEval 0.6: `annotations.json`, a list of objects whose preference is 1 where the baseline wins and 2 where the
model does; `model_outputs.json`. Arena-Hard 2.0: `question.jsonl`, `model_answer/MODEL.jsonl`,
`model_judgment/JUDGE/MODEL.jsonl` with one game an order, the baseline shown first in the first of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from gatebench.bench.judges.api import TIE
from gatebench.bench.keys import Json
from gatebench.bench.metrics.style import style_of

if TYPE_CHECKING:
    from gatebench.bench.judged.comparisons import Judged

JsonRow = dict[str, Json]
JudgedRow: TypeAlias = Mapping[str, Any]  # a row of a table of verdicts
CATEGORY = "hard_prompt"  # Arena-Hard's own, for questions that have none


def safe(name: str) -> str:
    """A cell's id as the name of a file and of a model: Arena-Hard's tool keeps what is behind the last slash."""
    return name.replace("/", "__").replace(" ", "_")


def annotated(judged: Judged) -> list[JsonRow]:
    """AlpacaEval's annotations; a comparison without a verdict in one order has no preference."""
    return [
        {
            "index": int(row["prompt"]), "dataset": str(row.get("category") or ""), "instruction": _question(row),
            "output_1": str(row["opponent_response"]), "generator_1": safe(judged.name),
            "output_2": str(row["response"]), "generator_2": safe(judged.cell.id),
            "annotator": safe(judged.judge), "preference": _preference(row),
        }
        for row in _rows(judged)
    ]  # fmt: skip


def outputs(judged: Judged, of_opponent: bool = False) -> list[JsonRow]:
    """AlpacaEval's outputs of the cell, or of its opponent."""
    column, name = ("opponent_response", judged.name) if of_opponent else ("response", judged.cell.id)
    return [
        {"dataset": str(row.get("category") or ""), "instruction": _question(row), "output": str(row[column]),
         "generator": safe(name)}
        for row in _rows(judged)
    ]  # fmt: skip


def questions(judged: Iterable[Judged]) -> list[JsonRow]:
    """Arena-Hard's questions, each once."""
    found = {
        _uid(row): {"uid": _uid(row), "category": _category(row), "prompt": _question(row)}
        for one in judged
        for row in _rows(one)
    }
    return list(found.values())  # type: ignore[arg-type]


def model_answers(judged: Judged, of_opponent: bool = False) -> list[JsonRow]:
    """Arena-Hard's answers of the cell, or of its opponent, with the counts that style control reads."""
    column, name = ("opponent_response", judged.name) if of_opponent else ("response", judged.cell.id)
    return [
        {
            "uid": _uid(row), "ans_id": _digest(safe(name), _uid(row)), "model": safe(name),
            "messages": [{"role": "user", "content": _question(row)},
                         {"role": "assistant", "content": {"answer": str(row[column])}}],
            "metadata": _metadata(str(row[column])),
        }
        for row in _rows(judged)
    ]  # fmt: skip


def judgments(judged: Judged) -> list[JsonRow]:
    """Arena-Hard's judgments: the game in which the baseline is A, then that in which the cell is."""
    return [
        {
            "uid": _uid(row), "category": _category(row), "judge": safe(judged.judge), "model": safe(judged.cell.id),
            "baseline": safe(judged.name), "games": [_game(row, "second", "B"), _game(row, "first", "A")],
        }
        for row in _rows(judged)
    ]  # fmt: skip


def _game(row: JudgedRow, order: str, place: str) -> JsonRow | None:
    """place: A or B, the cell's."""
    score, other = row[order], "A" if place == "B" else "B"
    if math.isnan(score):
        return None
    if score == TIE:
        label = "A=B"
    else:
        winner, loser = (place, other) if score > TIE else (other, place)
        label = f"{winner}{'>>' if row.get(f'{order}_much') else '>'}{loser}"
    return {"score": label, "judgment": {"answer": f"[[{label}]]"}, "prompt": []}


def _preference(row: JudgedRow) -> float | None:
    win = (row["first"] + row["second"]) / 2
    return None if math.isnan(win) else 1.0 + float(win)


def _metadata(answer: str) -> Json:
    style = style_of(answer)
    return {
        "token_len": style.words,
        "header_count": {f"h{level}": count for level, count in enumerate(style.headers, start=1)},
        "list_count": {"ordered": style.ordered, "unordered": style.unordered},
        "bold_count": {"**": style.stars, "__": style.bars},
    }


def _rows(judged: Judged) -> Sequence[JudgedRow]:
    return judged.rows.to_dict("records")  # type: ignore[return-value]


def _question(row: JudgedRow) -> str:
    return str(row.get("question", row["text"]))


def _uid(row: JudgedRow) -> str:
    return str(row.get("uid", row["prompt"]))


def _category(row: JudgedRow) -> str:
    return str(row.get("category") or CATEGORY)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:22]
