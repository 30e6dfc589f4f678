"""Run folders and registered claims behind a URL, so that what one machine found is read on another.

    URL/runs/<suite>/<run>.json        the files of a run's folder by their sha256; who writes last is read
    URL/claims/<suite>/<digest>.json   a line of the register of claims; the register is the union of all

Nothing here does anything for a store that is one machine's, or that machines share as a folder.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from gatebench.bench.store.files import append_json, remove, sha256_of, write_text
from gatebench.bench.store.index import CONTENTS
from gatebench.bench.store.mirror import Mirror
from gatebench.bench.store.shared import shared_of

RUNS, CLAIMS = "runs", "claims"
OWN = ("logs", "spool", "log.jsonl")  # of a run's folder, what is this machine's business
UPLOADED = ".uploaded"  # in a run's folder: the digest of the index that it equals


class RunIndex(TypedDict):
    """files: name -> sha256."""

    files: dict[str, str]


def mirror_of(results: Path) -> Mirror | None:
    shared = shared_of(results / "store")
    return shared.mirror if shared is not None else None


def publish_run(folder: Path) -> None:
    """Upload a run's folder, results/runs/<suite>/<run>: its files, then their index."""
    mirror = mirror_of(folder.parents[2])
    if mirror is not None:
        upload_run(folder, mirror)


def upload_run(folder: Path, mirror: Mirror) -> None:
    files = _files(folder)
    mirror.remote.upload({f"{CONTENTS}/{digest}": folder / name for name, digest in files.items()})
    content = json.dumps(RunIndex(files=files)).encode()
    mirror.remote.put(f"{RUNS}/{folder.parent.name}/{folder.name}.json", content)
    write_text(folder / UPLOADED, hashlib.sha256(content).hexdigest())


def bring_runs(results: Path) -> None:
    """Copy the runs that are behind the results, but for those that were built again here and not uploaded yet."""
    mirror = mirror_of(results)
    if mirror is not None:
        download_runs(results, mirror)


def download_runs(results: Path, mirror: Mirror, suite: str | None = None) -> list[Path]:
    """The folders of the runs at the URL, copied as far as they were not."""
    indexes = mirror.remote.read_all(mirror.remote.names(f"{RUNS}/{suite}/" if suite else f"{RUNS}/"))
    return [_download(results / name.removesuffix(".json"), index, mirror) for name, index in indexes.items()]


def _download(folder: Path, content: bytes, mirror: Mirror) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    known = folder / UPLOADED
    if folder.exists() and (not known.is_file() or known.read_text(encoding="utf-8") == digest or _changed(folder)):
        return folder
    files: dict[str, str] = json.loads(content)["files"]
    contents = mirror.remote.read_all({f"{CONTENTS}/{sha}" for sha in files.values()})
    remove([known])
    for name, sha in files.items():
        found = contents.get(f"{CONTENTS}/{sha}", b"")
        if ".." in Path(name).parts or Path(name).is_absolute() or hashlib.sha256(found).hexdigest() != sha:
            continue  # damaged there: `bench compare` names it, and `bench report` writes it anew
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(found)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(known, digest)
    return folder


def _changed(folder: Path) -> bool:
    """Whether a run was written since it was uploaded or copied."""
    mark = (folder / UPLOADED).stat().st_mtime_ns
    return any((folder / name).stat().st_mtime_ns > mark for name in _names(folder))


def _files(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    found = (file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file())
    return [str(file) for file in found if file.parts[0] not in OWN and not file.name.startswith(".")]


def share_lines(file: Path) -> None:
    """Have in a register, results/claims/<suite>.jsonl, and at the URL the lines of both."""
    mirror = mirror_of(file.parents[1])
    if mirror is not None:
        unite_lines(file, mirror)


def unite_lines(file: Path, mirror: Mirror) -> None:
    folder = f"{file.parent.name}/{file.stem}"
    own = file.read_bytes().splitlines() if file.is_file() else []
    digests = {f"{folder}/{hashlib.sha256(line).hexdigest()[:24]}.json": line for line in own if line}
    names = mirror.remote.names(f"{folder}/")
    for name in digests.keys() - set(names):
        mirror.remote.create(name, digests[name])
    new = mirror.remote.read_all([name for name in names if name not in digests])
    if new:
        file.parent.mkdir(parents=True, exist_ok=True)
    for line in new.values():
        with suppress(ValueError):  # a line that cannot be read counts for nothing, here as there
            append_json(file, json.loads(line))
