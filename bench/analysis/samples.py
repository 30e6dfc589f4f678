"""The answers of all cells to the same prompts, side by side, beside those of the policies they started from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Protocol

from gatebench.bench.analysis.table import Column, Table, TableCell, row, texts
from gatebench.bench.errors import UserError
from gatebench.bench.plan.graph import NAME_AXES
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.store.store import Store

PIECE = re.compile(r"\w+|[^\w\s]|\s+")


class Answering(Protocol):
    """A cell, planned or finished."""

    @property
    def id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def warmup(self) -> str: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Sample:
    """who: a cell, or the reference policy that cells started from; axes: of the cell, none for a reference policy;
    passed: graded exactly, None where it cannot be; changed: the spans of the response that are other words than those
    of the reference policy."""

    who: str
    axes: Mapping[str, str]
    response: str
    finish_reason: str
    passed: bool | None
    changed: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Asked:
    """A prompt of a data set and all answers to it: each reference policy's before those of its cells. why: it is worth
    reading, where it was chosen."""

    dataset: str
    number: int
    prompt: str
    answers: tuple[Sample, ...]
    why: str = ""


def side_by_side(generated: Iterable[tuple[Answering, str]], store: Store, wanted: Iterable[int]) -> list[Asked]:
    """The wanted prompts by number, with all answers to them. generated: cells with the key of their generate stage;
    those that are not finished are left out. Raises Unsound for answers that are not what the store wrote."""
    import pandas

    numbers = list(wanted)
    finished = [(cell, key) for cell, key in generated if store.is_finished("generate", key)]
    starts = {key: store.inputs("generate", key)["start"] for _, key in finished}
    policies = warm_up_names((cell, starts[key].name) for cell, key in finished)
    prompts: dict[tuple[str, int], str] = {}
    found: dict[tuple[str, int], list[Sample]] = {}
    shown: set[str] = set()
    before: dict[str, dict[tuple[int, int], str]] = {}  # what reference policies answered, by the key of their stage
    for cell, key in finished:
        axes = {axis: str(getattr(cell, axis)) for axis in NAME_AXES}
        store.check("generate", key)
        own, start = store.path("generate", key), starts[key]
        store.check("generate", start.name)
        for folder, who, of in ((start, policies[cell.id], {}), (own, cell.id, axes)):
            if who in shown:  # the reference policy of an earlier cell
                continue
            shown.add(who)
            frame = pandas.read_parquet(folder / ANSWERS_FILE)
            answers = frame[frame["prompt"].isin(numbers)].to_dict("records")
            if folder == start:
                before[start.name] = {(one["prompt"], one.get("sample", 0)): one["response"] for one in answers}
            for answer in answers:
                place = (cell.dataset, int(answer["prompt"]))
                prompts[place] = answer["text"]
                passed = bool(answer["passed"]) if "passed" in answer else None
                said, once = answer["response"], before[start.name].get((answer["prompt"], answer.get("sample", 0)), "")
                changed = changed_spans(once, said) if of else ()
                named = f"{who}, sample {answer['sample'] + 1}" if "sample" in answer else who
                sample = Sample(named, of, said, answer["finish_reason"], passed, changed)
                found.setdefault(place, []).append(sample)
    return [Asked(*place, prompts[place], tuple(found[place])) for place in sorted(found, key=lambda place: place[1])]


def warm_up_names(started: Iterable[tuple[Answering, str]]) -> dict[str, str]:
    """What the reference policy of each cell is called, by the cell's id: with its seed where the seeds' warm-ups are
    not one. started: cells with the key of the stage that holds their reference policy's answers."""
    cells = list(started)
    named = {cell.id: f"{cell.model}/{cell.dataset}/{cell.warmup} warm-up" for cell, _ in cells}
    stages = dict[str, set[str]]()
    for cell, key in cells:
        stages.setdefault(named[cell.id], set()).add(key)
    several = {name for name, keys in stages.items() if len(keys) > 1}
    return {cell.id: named[cell.id] + f", seed {cell.seed}" * (named[cell.id] in several) for cell, _ in cells}


def changed_spans(before: str, after: str) -> tuple[tuple[int, int], ...]:
    """Where `after` has other words than `before`, as (start, end) of characters."""
    ours = list(PIECE.finditer(after))
    matcher = SequenceMatcher(None, PIECE.findall(before), [word.group() for word in ours], autojunk=False)
    return tuple(
        (ours[start].start(), ours[end - 1].end())
        for kind, _, _, start, end in matcher.get_opcodes()
        if kind in ("insert", "replace")
    )


def answers_to(suite: str, generated: Iterable[tuple[Answering, str]], store: Store, prompt: int) -> list[Asked]:
    """All answers to one prompt, by data set. Raises UserError where there are none, or it was not asked."""
    import pandas

    finished = [(cell, key) for cell, key in generated if store.is_finished("generate", key)]
    if not finished:
        raise UserError(f"{suite}: no cell has answers; give the suite evaluate.generate and run it")
    found = side_by_side(finished, store, [prompt])
    if not found:
        files = [store.path("generate", key) / ANSWERS_FILE for _, key in finished]
        last = max(int(pandas.read_parquet(file, columns=["prompt"])["prompt"].max()) for file in files)
        raise UserError(f"prompt {prompt}: not asked; expected a number below {last + 1}")
    return found


def samples_table(asked: Asked, longest: int | None = None) -> Table:
    """A prompt's answers; longest: characters of an answer that are shown, all by default."""
    right = {True: TableCell("yes", tone="good"), False: TableCell("no", tone="bad"), None: TableCell("")}
    rows = tuple(row(s.who, _shown(s, longest), s.finish_reason, right[s.passed], axes=s.axes) for s in asked.answers)
    head = (Column("cell", wraps=True), Column("answer", wraps=True), *texts("ended", "right"))
    return Table(asked.prompt, head, rows, ruled=True)


def _shown(sample: Sample, longest: int | None) -> TableCell:
    text = sample.response
    if longest is None or len(text) <= longest:
        return TableCell(text, marked=sample.changed)
    kept = tuple((start, min(end, longest)) for start, end in sample.changed if start < longest)
    return TableCell(text[:longest] + " …", marked=kept)
