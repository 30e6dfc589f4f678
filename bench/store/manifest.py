"""What the store keeps beside a stage's files: what its key is the hash of, and how it was made."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from gatebench.bench.keys import Json


class KeptFile(TypedDict):
    """changed: the time of its last change in nanoseconds."""

    sha256: str
    bytes: int
    changed: NotRequired[int]


class Manifest(TypedDict):
    """manifest.json of a finished stage; further keys are facts of its kind (Stage.facts).

    kind, version, spec (in canonical form), inputs (role -> key), libraries: what the key is the hash of.
    files: by their path below the stage's folder. seconds, peak_memory: of the run that made it, memory in bytes and
    only where a worker did. code: the package's revision. remade: earlier versions that were damaged. finished: when.
    """

    kind: str
    key: str
    version: int
    spec: Json
    inputs: dict[str, str]
    libraries: dict[str, str]
    files: dict[str, KeptFile]
    finished: float
    code: str
    seconds: float
    peak_memory: NotRequired[int]
    tokens: NotRequired[int]
    cautions: NotRequired[list[str]]
    remade: NotRequired[list[str]]
