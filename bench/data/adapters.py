"""Rows of any known layout -> Pair and Probe. Bad rows are dropped and counted, or refused in one sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from gatebench.bench.data import probes, toolbox
from gatebench.bench.data.pairs import Dropped, Pair, PreferenceData, Probe, Text
from gatebench.bench.data.source import TOOLBOX, DataSource
from gatebench.bench.errors import UserError, at
from gatebench.objectives.names import nearest

TOOLBOX_DEFAULTS = (500, 200)
TOOLBOX_CORPUS = 20_000
ASSISTANT = "\n\nAssistant:"
FORMATS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
NOT_RESPONSES = ("prompt", "source", "chosen_selfr")  # chosen_selfr holds annotation markup, not a response
T = TypeVar("T")
RawRow = Mapping[str, object]
RawRows = Iterator[tuple[str, RawRow]]  # each with its place, for a sentence about it


@dataclass(frozen=True)
class BadRow(Exception):
    reason: str


@lru_cache(maxsize=8)
def load(source: DataSource) -> PreferenceData:
    """A data set by its source; kept in memory so that the cells of a warm process share it.

    Raises UserError for a missing or empty file, and where more than max_dropped of the rows are bad.
    """
    if source.path == TOOLBOX:
        train, test = source.train or TOOLBOX_DEFAULTS[0], source.test or TOOLBOX_DEFAULTS[1]
        return toolbox.load_toolbox(train, test, source.probes, TOOLBOX_CORPUS)
    dropped: list[Dropped] = []
    rows = _collect(_rows(source, source.path, source.train_split), to_pair, None, source, dropped)
    train_rows, rest = rows[: source.train], rows[source.train :] if source.train else []
    if source.is_one_file:
        test_rows, rest = rest[: source.test], rest[source.test :] if source.test else []
    else:
        held_out = _rows(source, source.test_path or source.path, source.test_split)
        test_rows = _collect(held_out, to_pair, source.test, source, dropped)
    if source.probes_path:
        # the probing set is laid over training prompts; held-out probes are made from the test rows
        probing = _file_rows(Path(source.probes_path))
        train_probes = _collect(probing, to_probe, source.probes, source, dropped)
    else:
        train_probes = list(probes.from_rows(train_rows[: source.probes], train_rows, test_rows, "train"))
    test_probes = probes.from_rows(test_rows[: source.probes], train_rows, test_rows, "test")
    # built-in models are pre-trained on the rows that the cells do not train on as well, never on held-out ones
    corpus = tuple(plain(row.prompt) + text for row in (*train_rows, *rest) for text in (row.chosen, row.rejected))
    return PreferenceData(
        tuple(train_rows), tuple(test_rows), {"train": tuple(train_probes), "test": test_probes}, corpus, tuple(dropped)
    )


def plain(text: Text) -> str:
    """A conversation as Human/Assistant turns, for corpora and for tokenizers without a chat template."""
    if isinstance(text, str):
        return text
    turns = [f"\n\n{'Assistant' if role == 'assistant' else 'Human'}: {content}" for role, content in text]
    return "".join(turns) + ASSISTANT


def _collect(
    rows: RawRows,
    convert: Callable[[RawRow], T],
    limit: int | None,
    source: DataSource,
    dropped: list[Dropped],
) -> list[T]:
    if limit == 0:
        return []
    found: list[T] = []
    bad: list[Dropped] = []
    for place, row in rows:
        if limit is not None and len(found) >= limit:
            break
        try:
            found.append(convert(row))
        except BadRow as error:
            bad.append(Dropped(place, error.reason))
    total = len(found) + len(bad)
    if total == 0:
        raise UserError(f"{source.path}: the data set is empty; expected rows with prompt, chosen and rejected")
    if len(bad) > source.max_dropped * total:
        raise UserError(
            f"{bad[0].place}: {bad[0].reason}; {len(bad)} of {total} rows are bad, more than the "
            f"{source.max_dropped:.0%} allowed. Mend the rows or raise the data set's max_dropped"
        )
    dropped += bad
    return found


def to_pair(row: RawRow) -> Pair:
    """prompt + chosen + rejected, plain or chat; or two transcripts that share all but the last turn."""
    for key in ("chosen", "rejected"):
        if row.get(key) is None:
            raise BadRow(f"no key '{key}'; {nearest(key, row)}")
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if prompt is None and isinstance(chosen, str):
        cut = chosen.rfind(ASSISTANT) + len(ASSISTANT)
        if cut < len(ASSISTANT) or not isinstance(rejected, str) or rejected[:cut] != chosen[:cut]:
            raise BadRow("no key 'prompt', and chosen and rejected do not share one up to the last 'Assistant:'")
        prompt, chosen, rejected = chosen[:cut], chosen[cut:], rejected[cut:]
    if isinstance(chosen, list):
        prompt = chosen[:-1] if prompt is None or len(chosen) > 1 else prompt
        chosen, rejected = _last_content(chosen, "chosen"), _last_content(rejected, "rejected")
    pair = Pair(_text(prompt), _string(chosen, "chosen"), _string(rejected, "rejected"))
    if pair.chosen == pair.rejected:
        raise BadRow("chosen and rejected are equal")
    return pair


def to_probe(row: RawRow) -> Probe:
    """A probing row: prompt, chosen and rejected, and any further column of text is a probe kind."""
    pair = to_pair(row)
    kinds = {key: value for key, value in row.items() if isinstance(value, str) and key not in NOT_RESPONSES}
    if not all(value.strip() for value in kinds.values()):
        raise BadRow("an empty probe")
    return Probe(pair.prompt, {key: _spaced(value, pair.chosen) for key, value in kinds.items()})


def _spaced(response: str, like: str) -> str:
    """Start with a space where the chosen response does, so that first tokens are comparable."""
    return f" {response}" if like[:1] == " " and response[:1] != " " else response


def _last_content(messages: object, key: str) -> str:
    if not isinstance(messages, list) or not messages or "content" not in messages[-1]:
        raise BadRow(f"'{key}' is not a list of messages with role and content")
    return str(messages[-1]["content"])


def _text(prompt: object) -> Text:
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    if isinstance(prompt, list) and prompt:
        return tuple((str(turn.get("role", "user")), str(turn.get("content", ""))) for turn in prompt)
    raise BadRow("'prompt' is empty")


def _string(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"'{key}' is empty")
    return value


def _rows(source: DataSource, path: str, split: str) -> RawRows:
    return _file_rows(Path(path)) if Path(path).is_file() else _hub_rows(source, split)


def _file_rows(path: Path) -> RawRows:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.name.endswith(FORMATS):
        raise UserError(f"{path}: unknown format; expected one of {', '.join(FORMATS)}")
    if path.suffix == ".parquet":
        import pyarrow.parquet

        for number, row in enumerate(pyarrow.parquet.read_table(path).to_pylist()):
            yield f"{path}: row {number}", row
        return
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{at(path, number)} not JSON ({error.msg}); expected one object a line") from None
            yield f"{path}:{number}", row


def _hub_rows(source: DataSource, split: str) -> RawRows:
    import datasets

    try:
        found = datasets.load_dataset(source.path, data_dir=source.subset, split=split, revision=source.revision)
    except Exception as error:  # the library raises a dozen kinds for one cause: the data cannot be had
        raise UserError(f"{source.path}: cannot load split {split!r} ({type(error).__name__}: {error})") from None
    for number, row in enumerate(found):
        yield f"{source.path}/{split}: row {number}", row
