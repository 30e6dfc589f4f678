"""The content-addressed directory of finished stages: written beside, synced, renamed.

ROOT/<stage>/<key>/manifest.json + artefacts      a finished stage; it exists whole or not at all
ROOT/.partial/<stage>-<key>-<pid>/                being written
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
PARTIAL = ".partial"


@dataclass(frozen=True)
class Store:
    root: Path

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def is_finished(self, kind: str, key: str) -> bool:
        return (self.path(kind, key) / MANIFEST).exists()

    def manifest(self, kind: str, key: str) -> dict[str, Any]:
        """The manifest of a finished stage: inputs, versions, sha256 and size of every file, seconds, facts."""
        found: dict[str, Any] = json.loads((self.path(kind, key) / MANIFEST).read_text())
        return found

    def begin(self, kind: str, key: str) -> Path:
        """An empty folder to write a stage into; leftovers of dead processes are swept."""
        partial = self.root / PARTIAL
        partial.mkdir(parents=True, exist_ok=True)
        for old in partial.iterdir():
            if not _alive(int(old.name.rsplit("-", 1)[1])):
                shutil.rmtree(old, ignore_errors=True)
        place = partial / f"{kind}-{key}-{os.getpid()}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def commit(self, place: Path, kind: str, key: str, manifest: Mapping[str, Any]) -> Path:
        """Sync what was written, add the manifest and rename the folder into its place."""
        files = {}
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            with file.open("rb") as opened:
                sha = hashlib.file_digest(opened, "sha256").hexdigest()
                os.fsync(opened.fileno())
            files[str(file.relative_to(place))] = {"sha256": sha, "bytes": file.stat().st_size}
        write_json(place / MANIFEST, {**manifest, "kind": kind, "key": key, "files": files, "finished": time.time()})
        target = self.path(kind, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.is_finished(kind, key):  # another process was first: the content is the same
            shutil.rmtree(place)
            return target
        os.rename(place, target)
        _sync(target.parent)
        return target


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
