"""Files and hub names -> raw rows, each with its place; a file that cannot be read is one sentence."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import UserError, at
from gatebench.bench.keys import Json

FORMATS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
LFS = b"version https://git-lfs"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST_LINE = 2**28  # bytes
ROWS_OF_PARQUET = 1000  # read at once
BLANK = re.compile(r"[ \t\r\n]*")
RawRows = Iterator[tuple[str, Json]]  # each with its place, for a sentence about it


def read_rows(source: DataSource, path: str, split: str) -> RawRows:
    return file_rows(Path(path)) if Path(path).is_file() else _hub_rows(source, split)


def file_rows(path: Path) -> RawRows:
    """The rows of a local file: JSON (an object a line or one array), CSV with a head, or parquet. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.name.endswith(FORMATS):
        raise UserError(f"{path}: unknown format; expected one of {', '.join(FORMATS)}")
    with path.open("rb") as file:
        start = file.read(2 * len(LFS))
    if LFS in start:
        raise UserError(f"{path}: a pointer of Git LFS, not the data; fetch them with `git lfs pull`")
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if path.name.endswith((".csv", ".csv.gz")) else _json_rows(path)


def _parquet_rows(path: Path) -> RawRows:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_OF_PARQUET):
                for row in batch.to_pylist():
                    yield f"{path}: row {number}", row
                    number += 1
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: text that is no UTF-8, absurd dates
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a readable parquet file, from row {number} on ({why})") from None


def _csv_rows(path: Path) -> RawRows:
    """Rows by the names of the head (RFC 4180: commas, quotes doubled inside quotes); an empty field is a text."""
    csv.field_size_limit(LONGEST_LINE)
    lines = csv.reader((line for _, line in _lines(path)), strict=True)
    try:
        head = next(lines, [])
        if len(head) < 2:
            raise UserError(f"{at(path, 1)} no columns ({', '.join(head)!r}); expected names with commas between them")
        if twice := next((name for name in head if head.count(name) > 1), None):
            raise UserError(f"{at(path, 1)} the column {twice!r} stands twice; give each a name of its own")
        for fields in lines:
            if fields and len(fields) != len(head):
                raise UserError(
                    f"{at(path, lines.line_num)} {len(fields)} fields, and the head has {len(head)}; put a text that "
                    "holds a comma or a line's end into double quotes"
                )
            if fields:
                yield f"{path}:{lines.line_num}", dict(zip(head, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{at(path, lines.line_num)} not CSV ({error}); expected commas and double quotes") from None


def _json_rows(path: Path) -> RawRows:
    lines = _lines(path)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        yield from _array_rows(first[1] + "".join(line for _, line in lines), path, first[0])
        return
    yield f"{path}:{first[0]}", _parsed(first[1], path, first[0])
    for number, line in lines:
        if line.strip():
            yield f"{path}:{number}", _parsed(line, path, number)


def _array_rows(text: str, path: Path, line: int) -> RawRows:
    """The items of one array, each parsed when it is asked for. line: of the file, on which the text begins."""
    decoder, number, place = json.JSONDecoder(), 0, _skip(text, text.index("[") + 1)
    while text[place : place + 1] != "]":
        try:
            row, place = decoder.raw_decode(text, place)
            yield f"{path}: row {number}", row
            number, place = number + 1, _skip(text, place)
            if text[place : place + 1] not in (",", "]") or not text[place:]:
                raise json.JSONDecodeError("Expecting ',' or ']'", text, place)
        except (ValueError, RecursionError) as error:
            raise _not_json(error, path, line, "one array of objects") from None
        if text[place] == ",":
            place = _skip(text, place + 1)
    if _skip(text, place + 1) < len(text):
        raise _not_json(json.JSONDecodeError("Extra data", text, place + 1), path, line, "one array of objects")


def _skip(text: str, place: int) -> int:
    """The place of the next character that is no space."""
    found = BLANK.match(text, place)
    return found.end() if found else place


def _parsed(text: str, path: Path, line: int) -> Json:
    try:
        return json.loads(text)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:  # ValueError: also a number of more digits than Python reads
        raise _not_json(error, path, line, "one object a line, or one array of them") from None


def _not_json(error: Exception, path: Path, line: int, expected: str) -> UserError:
    line += getattr(error, "lineno", 1) - 1
    why = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error).split(";")[0])
    return UserError(f"{at(path, line)} not JSON ({why}); expected {expected}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers; only a newline ends one, so that Unicode's separators stay inside strings."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), start=1):
                if len(line) == LONGEST_LINE:
                    raise UserError(
                        f"{at(path, number)} the line is longer than {LONGEST_LINE:,} bytes; write one object a line"
                    )
                if number == 1 and line.startswith(UTF_16):
                    raise UserError(f"{at(path, 1)} the file is UTF-16; expected UTF-8: iconv -f UTF-16 -t UTF-8")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(
            f"{at(path, number)} byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8; expected UTF-8, "
            "perhaps it is Latin-1: iconv -f LATIN1 -t UTF-8"
        ) from None
    except gzip.BadGzipFile:
        raise UserError(f"{path}: not a gzip file, whatever its name says; unpacked JSON is named .jsonl") from None
    except (EOFError, zlib.error):
        raise UserError(f"{path}: the gzip file is cut off after line {number}; download it again") from None


def _snapshot(source: DataSource) -> str:
    """Where a data set of the hub is read from. Offline, `datasets` knows those alone that it has prepared itself; the
    files of others may lie in the hub's cache as well, where a mirror put them."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not constants.HF_HUB_OFFLINE or Path(source.path).exists():
        return source.path
    try:
        return snapshot_download(source.path, repo_type="dataset", revision=source.revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return source.path


def _hub_rows(source: DataSource, split: str) -> RawRows:
    import datasets

    try:
        place = _snapshot(source)
        revision = source.revision if place == source.path else None
        found = datasets.load_dataset(place, data_dir=source.subset, split=split, revision=revision)
    except Exception as error:  # the library raises a dozen kinds for one cause: the data cannot be had
        raise UserError(f"{source.path}: cannot load split {split!r} ({type(error).__name__}: {error})") from None
    for number, row in enumerate(found):
        yield f"{source.path}/{split}: row {number}", row
