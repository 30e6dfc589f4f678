"""Files and hub names -> raw rows, each with its place; a file that cannot be read is one sentence."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import UserError, at
from gatebench.bench.keys import Json

FORMATS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
LFS = b"version https://git-lfs"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
RawRows = Iterator[tuple[str, Json]]  # each with its place, for a sentence about it


def read_rows(source: DataSource, path: str, split: str) -> RawRows:
    return file_rows(Path(path)) if Path(path).is_file() else _hub_rows(source, split)


def file_rows(path: Path) -> RawRows:
    """The rows of a local file: JSON, an object a line or one array, or parquet. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.name.endswith(FORMATS):
        raise UserError(f"{path}: unknown format; expected one of {', '.join(FORMATS)}")
    with path.open("rb") as file:
        start = file.read(2 * len(LFS))
    if LFS in start:
        raise UserError(f"{path}: a pointer of Git LFS, not the data; fetch them with `git lfs pull`")
    return _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)


def _parquet_rows(path: Path) -> RawRows:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None
    for number, row in enumerate(table.to_pylist()):
        yield f"{path}: row {number}", row


def _json_rows(path: Path) -> RawRows:
    lines = _lines(path)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        whole = first[1] + "".join(line for _, line in lines)
        found = _parsed(whole, path, first[0], "one array of objects")
        for number, row in enumerate(found if isinstance(found, list) else []):
            yield f"{path}: row {number}", row
        return
    yield f"{path}:{first[0]}", _parsed(first[1], path, first[0])
    for number, line in lines:
        if line.strip():
            yield f"{path}:{number}", _parsed(line, path, number)


def _parsed(text: str, path: Path, line: int, expected: str = "one object a line, or one array of them") -> Json:
    try:
        return json.loads(text)  # type: ignore[no-any-return]
    except (json.JSONDecodeError, RecursionError) as error:
        line += getattr(error, "lineno", 1) - 1
        why = getattr(error, "msg", "nested too deeply")
        raise UserError(f"{at(path, line)} not JSON ({why}); expected {expected}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers; only a newline ends one, so that Unicode's separators stay inside strings."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
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


def _hub_rows(source: DataSource, split: str) -> RawRows:
    import datasets

    try:
        found = datasets.load_dataset(source.path, data_dir=source.subset, split=split, revision=source.revision)
    except Exception as error:  # the library raises a dozen kinds for one cause: the data cannot be had
        raise UserError(f"{source.path}: cannot load split {split!r} ({type(error).__name__}: {error})") from None
    for number, row in enumerate(found):
        yield f"{source.path}/{split}: row {number}", row
