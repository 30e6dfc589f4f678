"""Judged answers written where the tools of AlpacaEval and Arena-Hard look for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatebench.bench.judged import formats
from gatebench.bench.judged.comparisons import Judged
from gatebench.bench.judged.formats import safe
from gatebench.bench.store.files import write_json, write_text


def write_judged(judged: Sequence[Judged], suite: str, folder: Path) -> list[Path]:
    """alpaca_eval/OPPONENT/CELL/ and arena_hard/data/SUITE-vs-BASELINE/; returns these folders."""
    return list(dict.fromkeys([*_alpaca_eval(judged, folder / "alpaca_eval"),
                               *_arena_hard(judged, suite, folder / "arena_hard/data")]))  # fmt: skip


def _alpaca_eval(judged: Sequence[Judged], folder: Path) -> Iterator[Path]:
    for one in judged:
        place = folder / one.opponent / safe(one.cell.id)
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "annotations.json", formats.annotated(one))
        write_json(place / "model_outputs.json", formats.outputs(one))
        write_json(place / "reference_outputs.json", formats.outputs(one, of_opponent=True))
        yield place


def _arena_hard(judged: Sequence[Judged], suite: str, folder: Path) -> Iterator[Path]:
    """A benchmark of Arena-Hard has one baseline, so that there is one for each opponent and data set."""
    for name, dataset in dict.fromkeys((one.name, one.cell.dataset) for one in judged):
        own = [one for one in judged if (one.name, one.cell.dataset) == (name, dataset)]
        place = folder / safe(f"{suite}-{dataset}-vs-{name}")
        _write_lines(place / "question.jsonl", formats.questions(own))
        _write_lines(place / "model_answer" / f"{safe(name)}.jsonl", formats.model_answers(own[0], of_opponent=True))
        for one in own:
            file = f"{safe(one.cell.id)}.jsonl"
            _write_lines(place / "model_answer" / file, formats.model_answers(one))
            _write_lines(place / "model_judgment" / safe(one.judge) / file, formats.judgments(one))
        yield place


def _write_lines(file: Path, rows: Sequence[formats.JsonRow]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
