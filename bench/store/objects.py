"""What leases need of a place that several machines see: small objects by name, one of which only one can create."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Protocol

from gatebench.bench.store.files import write_text


class Objects(Protocol):
    """Objects by names with slashes. A reader sees all of one or nothing."""

    def names(self, under: str) -> list[str]:
        """The sorted names of all objects below `under`."""

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""

    def create(self, name: str, content: bytes) -> bool:
        """Write an object that is not there; False where it is: of several who try at once, one succeeds."""

    def put(self, name: str, content: bytes) -> None:
        """Write an object, whether it is there or not."""

    def delete(self, names: list[str]) -> None:
        """Remove objects, as far as they are there."""


class SharedFolder:
    """A folder that several machines mount, NFS for one. Hard links are created by one machine alone there (open with
    O_EXCL and link(2) are what NFS promises), and flock need not cross machines."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, under: str) -> list[str]:
        place = self.root / under
        found = (file.relative_to(self.root) for file in place.rglob("*") if file.is_file())
        return sorted(file.as_posix() for file in found if not file.name.startswith("."))

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, name: str, content: bytes) -> bool:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")  # containers share names and numbers
        try:
            beside.write_bytes(content)
            try:
                os.link(beside, file)
            except FileExistsError:  # or made just now, by a request whose answer was lost and that was sent again
                return self.read(name) == content
            return True
        finally:
            beside.unlink(missing_ok=True)

    def put(self, name: str, content: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(self.root / name, content.decode())

    def delete(self, names: list[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)
