"""The index of a stage at a URL: its manifest, and which of its files were left behind; how all that is named there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple, TypedDict

from gatebench.bench.store.manifest import KeptFile, Manifest, is_whole

CONTENTS, STAGES = "files", "stages"


class StageAddress(NamedTuple):
    kind: str
    key: str


class Index(TypedDict):
    """left: the files of the manifest that are not at the URL."""

    manifest: Manifest
    left: list[str]


def index_name(one: StageAddress) -> str:
    return f"{STAGES}/{one.kind}/{one.key}.json"


def object_name(file: KeptFile) -> str:
    return f"{CONTENTS}/{file['sha256']}"


def hashes_of(manifest: Manifest) -> dict[str, str]:
    return {name: file["sha256"] for name, file in manifest["files"].items()}


def as_recorded(file: Path, wanted: KeptFile) -> None:
    """The time of its last change is that of the manifest, by which an untouched file is known."""
    if "changed" in wanted:
        os.utime(file, ns=(wanted["changed"], wanted["changed"]))


def read_index(one: StageAddress, content: bytes) -> Index | None:
    """None where it is not the index of that stage."""
    try:
        found = json.loads(content)
        manifest, left = found["manifest"], found["left"]
        own = (manifest["kind"], manifest["key"]) == one and set(left) <= manifest["files"].keys()
        return Index(manifest=manifest, left=left) if own and is_whole(manifest) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
