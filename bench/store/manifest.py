"""What the store keeps beside a stage's files: what its key is the hash of, and how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from gatebench.bench import keys
from gatebench.bench.errors import UserError
from gatebench.bench.keys import Json

MANIFEST = "manifest.json"
ELSEWHERE = "elsewhere.json"  # in the folder of a stage of which not every file is here


class Unsound(UserError):
    """A finished stage that is not what was written; a run makes it again."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"{folder}: {what}; `bench run` the suite again, which makes this stage anew")


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
    seal: the key of all the rest.
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
    seal: NotRequired[str]


def sealed(told: object) -> dict[str, Json]:
    """What a manifest is to hold, as JSON, with the seal by which a change of it is noticed."""
    plain: dict[str, Json] = json.loads(json.dumps(told))
    return {**plain, "seal": keys.digest_of_json(plain)}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a stage's folder, <kind>/<key>. Raises Unsound where it cannot be read, was changed, or is that
    of another stage."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
        whole = is_whole(found)
        own = (found["kind"], found["key"])
    except OSError as error:
        raise Unsound(folder, f"its manifest cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unsound(folder, "its manifest is not one") from None
    if own != (folder.parent.name, folder.name):
        raise Unsound(folder, f"its manifest is that of {own[0]} {own[1]}")
    if not whole:
        raise Unsound(folder, "its manifest was changed")
    return cast("Manifest", found)


def is_whole(found: Manifest) -> bool:
    """Whether a manifest is what was sealed, and names files below its own folder alone. Raises what reading something
    else as a manifest raises: KeyError, TypeError, AttributeError."""
    rest = cast("dict[str, keys.Json]", {name: value for name, value in found.items() if name != "seal"})
    files = {name: (file["sha256"], file["bytes"]) for name, file in found["files"].items()}
    inside = not any(Path(name).is_absolute() or ".." in Path(name).parts for name in files)
    return inside and found.get("seal", keys.digest_of_json(rest)) == keys.digest_of_json(rest)


def elsewhere(folder: Path) -> list[str]:
    """The files of a finished stage that were left where it came from, models that no stage here has asked for. Raises
    Unsound where the note of them cannot be read."""
    return _left(folder)[1]


def origin(folder: Path) -> str:
    """The URL where what is `elsewhere` was left; empty where nothing is. Raises what that does."""
    return _left(folder)[0]


def _left(folder: Path) -> tuple[str, list[str]]:
    try:
        found = json.loads((folder / ELSEWHERE).read_bytes())
        return str(found["from"]), [str(name) for name in found["files"]]
    except FileNotFoundError:
        return "", []
    except (OSError, ValueError, KeyError, TypeError):
        raise Unsound(folder, f"{ELSEWHERE}, the note of what was left elsewhere, cannot be read") from None


def is_result(name: str) -> bool:
    """Whether results are read from a file of a stage, one of its own folder; those in folders below are models."""
    return "/" not in name
