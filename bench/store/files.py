"""Files and folders: written so that a reader sees all of one or nothing, measured, removed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO


def sha256_of(file: Path) -> str:
    """sha256 of a file's content, read once as long as neither its content nor its dates are touched."""
    stat = file.stat()
    return _sha256(str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@cache
def _sha256(file: str, inode: int, size: int, changed: int, touched: int) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def size_of(entry: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(p.stat().st_size for p in ([entry] if entry.is_file() else entry.rglob("*")) if p.is_file())


def remove(entries: list[Path]) -> None:
    """Delete files and folders for good."""
    for entry in entries:
        _remove_one(entry)


def _remove_one(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """`write_text` of a value as JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False))


def append_json(path: Path, value: object) -> None:
    """Add a line to a file of JSON lines, on a line of its own even behind one that a killed process left half."""
    with path.open("ab+") as file:
        torn = file.seek(0, os.SEEK_END) and not _ends_a_line(file)
        file.write(("\n" if torn else "").encode() + json.dumps(value).encode() + b"\n")


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it, whoever else writes it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold a lock file (flock), made where it is missing: one process or thread at a time, the others wait."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
