"""Finished stages behind a URL, and their copies in a cache: a folder store of this machine.

    URL/files/<sha256>                 the content of a file, written once, whoever writes it
    URL/stages/<kind>/<key>.json       manifest and what was left behind: written last, by one, and makes the stage
    URL/leases/<kind>-<key>/<n>        who makes it (lease.py)
    URL/damaged/...                    indexes of stages of which a file is not what the manifest says

The files that results are read from come with a stage, models when a stage needs them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.store.files import alone, remove, sha256_of, write_json
from gatebench.bench.store.index import (
    STAGES,
    Index,
    StageAddress,
    as_recorded,
    hashes_of,
    index_name,
    object_name,
    read_index,
)
from gatebench.bench.store.manifest import (
    ELSEWHERE,
    MANIFEST,
    KeptFile,
    Unsound,
    elsewhere,
    is_result,
    origin,
    read_manifest,
)
from gatebench.bench.store.remote import Remote, say

ASIDE, FETCHING = "damaged", ".fetching"
SECONDS_BETWEEN_LISTINGS = 2.0
STAGES_AT_ONCE = 32  # so many are asked for in one go
BYTES_WORTH_A_WORD = 50e6


class LeftBehind(UserError):
    """A stage needs a file that was left where the stage was made."""


class Outdated(Unsound):
    """A copy of the URL's stage, which has its models no more: another machine found one damaged there, and may have
    made the stage anew since."""


class Mirror:
    """root: the folder of the cache's stages."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.root, self.remote = root, remote
        self._listed: dict[str, str] = {}  # key -> kind
        self._listed_at = -SECONDS_BETWEEN_LISTINGS
        self._listing = threading.Lock()

    def listed(self) -> set[StageAddress]:
        """The stages at the URL, as of a moment ago."""
        with self._listing:
            if time.monotonic() - self._listed_at > SECONDS_BETWEEN_LISTINGS:
                found = [name.split("/") for name in self.remote.names(f"{STAGES}/")]
                self._listed = {parts[2].removesuffix(".json"): parts[1] for parts in found if len(parts) == 3}
                self._listed_at = time.monotonic()
        return {StageAddress(kind, key) for key, kind in dict(self._listed).items()}  # it may grow meanwhile

    def look_anew(self) -> None:
        """Have the next question answered by what is there then."""
        with self._listing:
            self._listed_at = -SECONDS_BETWEEN_LISTINGS

    def bring(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Copy those of some stages that are at the URL and not here, with all that they were made from."""
        there = self.listed()
        asked = [StageAddress(*one) for one in wanted]
        while missing := [one for one in dict.fromkeys(asked) if one in there and not self._is_here(one)]:
            if len(missing) > STAGES_AT_ONCE:
                say(f"fetching the results of {len(missing)} stages from {self.remote.url}")
            inputs: list[StageAddress] = []
            for first in range(0, len(missing), STAGES_AT_ONCE):
                inputs += self._bring(missing[first : first + STAGES_AT_ONCE])
            there -= {one for one in missing if not self._is_here(one)}  # damaged ones
            asked = inputs

    def _bring(self, some: Sequence[StageAddress]) -> Iterator[StageAddress]:
        """Copy some stages; yields what they were made from."""
        indexes = {}
        for one, content in self._indexes(some).items():
            index = read_index(one, content)
            if index is None:
                self.discard(one)
            else:
                indexes[one] = index
        contents = self._contents(indexes.values())
        for one, index in indexes.items():
            place = self._laid(one, index, contents)
            if place is None:
                self.discard(one)
                continue
            self._settle(one, place)
            for key in index["manifest"]["inputs"].values():
                if kind := self._listed.get(key):
                    yield StageAddress(kind, key)

    def _indexes(self, some: Iterable[StageAddress]) -> dict[StageAddress, bytes]:
        names = {index_name(one): one for one in some}
        return {names[name]: content for name, content in self.remote.read_all(names).items()}

    def take(self, kind: str, key: str) -> bool:
        """Have the stage of the URL in the place of another in the cache, whose inputs are its inputs. False where it
        is not what its manifest says; then it is set aside there, and nothing has changed here."""
        one = StageAddress(kind, key)
        index = self._index(one)
        place = self._laid(one, index, self._contents([index])) if index else None
        if place is None:
            self.discard(one)
            return False
        away = self._moved_away(one)
        self._settle(one, place)
        remove([away])
        return True

    def _contents(self, indexes: Iterable[Index]) -> dict[str, bytes]:
        """The files of stages that come with them, by the names of their objects."""
        wanted = {
            object_name(file)
            for index in indexes
            for name, file in index["manifest"]["files"].items()
            if is_result(name) and name not in index["left"]
        }
        return self.remote.read_all(sorted(wanted))

    def _laid(self, one: StageAddress, index: Index, contents: Mapping[str, bytes]) -> Path | None:
        """A stage's folder beside the cache; None where a content is not what the manifest says."""
        place = self._beside(one)
        place.mkdir(parents=True)
        left = []
        for name, file in index["manifest"]["files"].items():
            if not is_result(name) or name in index["left"]:
                left.append(name)
                continue
            content = contents.get(object_name(file), b"")
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                remove([place])
                return None
            (place / name).write_bytes(content)
            as_recorded(place / name, file)
        if left:
            write_json(place / ELSEWHERE, {"from": self.remote.url, "files": left})
        write_json(place / MANIFEST, index["manifest"])
        return place

    def _settle(self, one: StageAddress, place: Path) -> None:
        """Put a folder into the cache, unless another process was as quick."""
        target = self._folder(one)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(place, target)
        except OSError:
            if self._is_here(one):
                remove([place])
                return
            away = self._moved_away(one)  # what is left of a folder that was being removed
            os.rename(place, target)
            remove([away])

    def _moved_away(self, one: StageAddress) -> Path:
        """Where a folder of the cache is now, to be removed: in its place it is there whole or not at all."""
        away = self._beside(one)
        away.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(self._folder(one), away)
        return away

    def _beside(self, one: StageAddress) -> Path:
        return self.root / FETCHING / f"{one.kind}-{one.key}.{uuid.uuid4().hex}"

    def complete(self, kind: str, key: str) -> None:
        """Fetch what of a stage in the cache was left at the URL. Raises LeftBehind where it is not there either,
        Outdated, and Unsound where it is not what the manifest says, after which the stage is made anew."""
        one = StageAddress(kind, key)
        folder = self._folder(one)
        with self.completing(kind, key):
            if not (left := elsewhere(folder)):
                return
            if lacking := self.lacking(kind, key):
                raise left_behind(folder, lacking)
            files = read_manifest(folder)["files"]
            size = sum(files[name]["bytes"] for name in left)
            if size > BYTES_WORTH_A_WORD:
                say(f"fetching {kind} {key}, {size / 1e6:.0f} MB, from {self.remote.url}")
            for name in left:
                self._fetch(one, name, files[name])
            (folder / ELSEWHERE).unlink()

    def completing(self, kind: str, key: str) -> AbstractContextManager[None]:
        """Held by who fetches the files of a stage that were left, or judges whether they can be."""
        return alone(self.root / FETCHING / f"{kind}-{key}.lock")

    def lacking(self, kind: str, key: str) -> list[str]:
        """The files of a stage in the cache that are neither here nor at the URL. Raises Unsound, Outdated where the
        stage came from the URL."""
        folder = self.root / kind / key
        if not (left := elsewhere(folder)):
            return []
        index = self._index(StageAddress(kind, key))
        if index is not None and hashes_of(index["manifest"]) == hashes_of(read_manifest(folder)):
            return [name for name in left if name in index["left"]]
        if origin(folder) == self.remote.url:
            raise Outdated(folder, f"its models are not at {self.remote.url} any more")
        return left

    def _fetch(self, one: StageAddress, name: str, wanted: KeptFile) -> None:
        folder = self._folder(one)
        file = self.root / FETCHING / f"{wanted['sha256']}.{uuid.uuid4().hex}"
        if not self.remote.download(object_name(wanted), file) or sha256_of(file) != wanted["sha256"]:
            file.unlink(missing_ok=True)
            self.discard(one)
            remove([self._moved_away(one)])
            raise Unsound(folder, f"{name} is not what its manifest says at {self.remote.url}")
        as_recorded(file, wanted)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, folder / name)

    def publish(self, kind: str, key: str, weights: bool = True) -> bool:
        """Upload a stage of the cache: its files, then its index. False where other files of it are there already: it
        was made elsewhere as well, to other bits."""
        one = StageAddress(kind, key)
        folder = self._folder(one)
        manifest = read_manifest(folder)
        here = {name: file for name, file in manifest["files"].items() if weights or is_result(name)}
        for name in elsewhere(folder):
            here.pop(name, None)
        size = sum(file["bytes"] for file in here.values())
        if size > BYTES_WORTH_A_WORD:
            say(f"uploading {kind} {key}, {size / 1e6:.0f} MB, to {self.remote.url}")
        self.remote.upload({object_name(file): folder / name for name, file in here.items()})
        left = [name for name in manifest["files"] if name not in here]
        index = json.dumps({"manifest": manifest, "left": left}).encode()
        done = self.remote.create(index_name(one), index)
        if not done:
            there = self._index(one)
            if there is None:  # half written, or gone again
                self.discard(one)
                done = self.remote.create(index_name(one), index)
            else:
                done = hashes_of(there["manifest"]) == hashes_of(manifest)
            if there is not None and done and not set(there["left"]) <= set(left):
                self.remote.put(index_name(one), index)
        self._listed[key] = kind
        return done

    def discard(self, one: StageAddress) -> None:
        """Set a stage at the URL aside, to be made again: its index, and what of its files is not what it says."""
        content = self._indexes([one]).get(one)
        if content is None:
            return
        say(f"{self.remote.url}: {one.kind} {one.key} is damaged there; set aside")
        digest = hashlib.sha256(content).hexdigest()[:12]
        self.remote.put(f"{ASIDE}/{one.kind}-{one.key}-{digest}.json", content)
        self.remote.delete([index_name(one)])
        self._listed.pop(one.key, None)
        index = read_index(one, content)
        for file in index["manifest"]["files"].values() if index else ():
            self._discard_file(file)

    def _discard_file(self, file: KeptFile) -> None:
        beside = self.root / FETCHING / f"{file['sha256']}.{uuid.uuid4().hex}"
        beside.parent.mkdir(parents=True, exist_ok=True)
        if self.remote.download(object_name(file), beside) and sha256_of(beside) != file["sha256"]:
            self.remote.delete([object_name(file)])
        beside.unlink(missing_ok=True)

    def _index(self, one: StageAddress) -> Index | None:
        content = self._indexes([one]).get(one)
        return None if content is None else read_index(one, content)

    def _is_here(self, one: StageAddress) -> bool:
        return (self._folder(one) / MANIFEST).exists()

    def _folder(self, one: StageAddress) -> Path:
        return self.root / one.kind / one.key


def left_behind(folder: Path, names: Sequence[str]) -> LeftBehind:
    """The refusal of a stage that needs what was not carried along."""
    more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
    return LeftBehind(
        f"{folder}: {names[0]}{more} stayed where this stage was made, and a stage that is to run needs it; carry the"
        " store with --with-weights (bench store push, bench store pull), or run the suite on an empty one"
    )
