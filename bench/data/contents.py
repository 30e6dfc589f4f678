"""Whether a data set is what its content stands for: the bytes of its files, or its rows wherever they lie.

A suite that names its rows (`rows: DIGEST`) has one key whether they come from the hub or from a local copy, in
whatever format; what is read is held against the digest.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from gatebench.bench import keys
from gatebench.bench.data.conversation import BadRow
from gatebench.bench.data.readers import read_rows
from gatebench.bench.data.rows import to_pair
from gatebench.bench.data.source import ROWS, DataSource, check_unchanged, file_digest
from gatebench.bench.errors import UserError

Stamp = tuple[tuple[str, int, int], ...]  # of local files: path, bytes, time of the last change in nanoseconds


def check_content(source: DataSource) -> None:
    """Raise UserError where what a data set holds is not what its content stands for."""
    if not source.content.startswith(ROWS):
        check_unchanged(source)
        return
    found, named = rows_digest(source), source.content.removeprefix(ROWS)
    if found != named:
        raise UserError(
            f"{source.path}: its rows have the digest {found}, and the suite names {named}: they are others, or were "
            "changed; read the ones that are meant, or write the digest of these as the data set's `rows`"
        )


def rows_digest(source: DataSource) -> str:
    """sha256 of all pairs that can be used, of both splits and in order, and of the bytes of a probing set;
    whatever the format, and however many of them a suite takes."""
    paths = [path for path in (source.path, source.test_path, source.probes_path) if path and Path(path).is_file()]
    stats = [(path, Path(path).stat()) for path in paths]
    return _digest(source, tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))


@lru_cache(maxsize=16)
def _digest(source: DataSource, _: Stamp) -> str:
    total, columns = hashlib.sha256(), dict(source.columns)
    sides = [(source.path, source.train_split)]
    sides += [] if source.is_one_file else [(source.test_path or source.path, source.test_split)]
    for path, split in sides:
        total.update(b"split\n")
        for _place, row in read_rows(source, path, split):
            try:
                pair = to_pair(row, columns, source.transcripts)
            except BadRow:
                continue
            known = keys.canonical([pair.prompt, pair.chosen, pair.rejected])
            total.update(json.dumps(known, sort_keys=True).encode() + b"\n")
    if source.probes_path:
        total.update(file_digest(source.probes_path).encode())
    return total.hexdigest()
