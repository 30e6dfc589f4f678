"""The content-addressed directory of finished stages: written beside, synced, renamed.

    ROOT/<stage>/<key>/manifest.json + artefacts   a finished stage; it exists whole or not at all
    ROOT/.partial/<stage>-<key>/                   being written, by whoever holds its lock
    ROOT/.locks/<stage>-<key>                      held (flock) while a stage is made; a dead process holds nothing
    ROOT/.damaged/<stage>-<key>-<n>/               set aside because a file is not what the manifest says

What a stage leaves in one of RESUMABLE while it is written outlives a kill, so that it can go on from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.store.files import remove, sync, write_json
from gatebench.bench.store.manifest import KeptFile, Manifest

MANIFEST = "manifest.json"
PARTIAL, LOCKS, DAMAGED = ".partial", ".locks", ".damaged"
RESUMABLE = ("trainer", "checkpoints")


class Lock:
    """Held until release() or the end of the process, however it ends."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


@dataclass(frozen=True)
class Store:
    root: Path

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def is_finished(self, kind: str, key: str) -> bool:
        return (self.path(kind, key) / MANIFEST).exists()

    def manifest(self, kind: str, key: str) -> Manifest:
        """The manifest of a finished stage."""
        found: Manifest = json.loads((self.path(kind, key) / MANIFEST).read_text())
        return found

    def inputs(self, kind: str, key: str) -> dict[str, Path]:
        """The folders that a finished stage was made from, by role, as far as they are there."""
        made_from = self.manifest(kind, key)["inputs"]
        places = {role: next(self.root.glob(f"*/{own}"), None) for role, own in made_from.items()}
        return {role: place for role, place in places.items() if place is not None}

    def finished(self, kind: str) -> Iterator[str]:
        """Keys of the finished stages of a kind."""
        folder = self.root / kind
        if folder.exists():
            yield from (entry.name for entry in folder.iterdir() if (entry / MANIFEST).exists())

    def finished_among(self, addresses: Iterable[tuple[str, str]]) -> set[str]:
        """The keys of those stages, given as (kind, key), that are finished."""
        wanted = list(addresses)
        held = {kind: set(self.finished(kind)) for kind in {kind for kind, _ in wanted}}
        return {key for kind, key in wanted if key in held[kind]}

    def lock(self, kind: str, key: str) -> Lock | None:
        """The right to make a stage, or None while another living process has it."""
        path = self.root / LOCKS / f"{kind}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                return Lock(path, handle)
        except (BlockingIOError, FileNotFoundError):
            pass  # held by another, or released between opening and locking: the caller tries again
        os.close(handle)
        return None

    def begin(self, kind: str, key: str) -> Path:
        """The folder to write a stage into, empty but for what a killed run left to go on from. Needs the lock."""
        place = self.root / PARTIAL / f"{kind}-{key}"
        place.mkdir(parents=True, exist_ok=True)
        for left in place.iterdir():
            if left.name not in RESUMABLE:
                remove([left])
        return place

    def commit(self, place: Path, kind: str, key: str, told: Mapping[str, object]) -> Path:
        """Sync what was written, add the manifest and rename the folder into its place. Needs the lock.

        told: what the manifest says beside kind, key and files: the rest of the identity, facts.
        """
        files: dict[str, KeptFile] = {}
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            with file.open("rb") as opened:
                sha = hashlib.file_digest(opened, "sha256").hexdigest()
                os.fsync(opened.fileno())
            stat = file.stat()
            files[str(file.relative_to(place))] = {"sha256": sha, "bytes": stat.st_size, "changed": stat.st_mtime_ns}
        write_json(place / MANIFEST, {**told, "kind": kind, "key": key, "files": files, "finished": time.time()})
        target = self.path(kind, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(place, target)
        sync(target.parent)
        return target

    def is_sound(self, kind: str, key: str, thorough: bool) -> bool:
        """Whether every file of a finished stage is what its manifest says.

        A file of the recorded size and time is believed, any other is hashed; thorough: all are hashed.
        """
        try:
            files = self.manifest(kind, key)["files"]
        except (ValueError, KeyError, TypeError):
            return False
        return all(_is_as_recorded(self.path(kind, key) / name, wanted, thorough) for name, wanted in files.items())

    def set_aside(self, kind: str, key: str) -> Path:
        """Move a damaged stage out of the way, to be looked at and made again."""
        folder = self.root / DAMAGED
        folder.mkdir(exist_ok=True)
        target = folder / f"{kind}-{key}-{len(list(folder.glob(f'{kind}-{key}-*')))}"
        os.rename(self.path(kind, key), target)
        return target

    def set_asides(self, kind: str, key: str) -> list[str]:
        """Names of the damaged earlier versions of a stage."""
        return sorted(place.name for place in (self.root / DAMAGED).glob(f"{kind}-{key}-*"))

    def is_in_use(self) -> bool:
        """Whether a living process is making a stage."""
        for entry in (self.root / LOCKS).glob("*"):
            held = self.lock(*entry.name.split("-", 1))
            if held is None:
                return True
            held.release()
        return False

    def leftovers(self) -> list[Path]:
        """Folders of unfinished stages that no living process writes, locks of the dead, and damaged stages."""
        found = list((self.root / DAMAGED).glob("*"))
        for entry in [*(self.root / PARTIAL).glob("*"), *(self.root / LOCKS).glob("*")]:
            held = self.lock(*entry.name.split("-", 1))
            if held is not None:
                held.release()
                found.append(entry)
        return [entry for entry in found if entry.exists()]


def _is_as_recorded(file: Path, wanted: KeptFile, thorough: bool) -> bool:
    try:
        stat = file.stat()
        if stat.st_size != wanted["bytes"]:
            return False
        if not thorough and stat.st_mtime_ns == wanted.get("changed"):
            return True
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == wanted["sha256"]
    except OSError:
        return False
