"""The bytes of a GGUF file: it lies on the disk, inside a wheel, or in parts of either.

A part is a path. `FOLDER/x.whl/y/model.gguf` is the member `y/model.gguf` of the wheel `FOLDER/x.whl`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO
from zipfile import ZipFile

from gatebench.bench.store.files import sha256_of


class _Joined(io.RawIOBase):
    """Files read one after the other as if they were one."""

    def __init__(self, parts: Sequence[str]) -> None:
        self.rest = list(parts)
        self.current: IO[bytes] = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not (found := self.current.read(len(buffer))):
            if not self.rest:
                return 0
            self.current.close()
            self.current = _part(self.rest.pop(0))
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.current.close()
        super().close()


def opened(parts: Sequence[str]) -> io.BufferedReader:
    """All parts as one file, to be read from its start to its end."""
    return io.BufferedReader(_Joined(parts), 2**20)


def size_of_parts(parts: Sequence[str]) -> int:
    """Bytes of all parts."""
    return sum(_size(part) for part in parts)


def digest_of_parts(parts: Sequence[str]) -> str:
    """sha256 of the bytes of all parts, read once as long as no file of them is touched. Raises OSError."""
    if len(parts) == 1 and Path(parts[0]).is_file():
        return sha256_of(Path(parts[0]))
    stats = [_file_of(part).stat() for part in parts]
    return _digest(
        tuple(parts), tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)
    )


@cache
def _digest(parts: tuple[str, ...], touched: tuple[tuple[int, ...], ...]) -> str:
    with opened(parts) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_of(part: str) -> Path:
    """The file that a part is, or the wheel that it is in. Raises FileNotFoundError."""
    path = Path(part)
    for place in (path, *path.parents):
        if place.is_file():
            return place
    raise FileNotFoundError(2, "No such file or directory", part)


def _member(part: str, file: Path) -> str:
    return Path(part).relative_to(file).as_posix()


def _part(part: str) -> IO[bytes]:
    file = _file_of(part)
    if file == Path(part):
        return file.open("rb")
    return ZipFile(file).open(_member(part, file))


def _size(part: str) -> int:
    file = _file_of(part)
    if file == Path(part):
        return file.stat().st_size
    with ZipFile(file) as wheel:
        return wheel.getinfo(_member(part, file)).file_size
