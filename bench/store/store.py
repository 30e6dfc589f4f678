"""The content-addressed directory of finished stages: written beside, synced, renamed.

    ROOT/<stage>/<key>/manifest.json + artefacts   a finished stage; it exists whole or not at all
    ROOT/.partial/<stage>-<key>/                   being written, by whoever holds its lock
    ROOT/.locks/<stage>-<key>                      held (flock) while a stage is made; a dead process holds nothing
    ROOT/.damaged/<stage>-<key>-<n>/               set aside because a file is not what the manifest says
    ROOT/.use                                      held (flock) by whoever uses the store, alone by who deletes from it

What a stage leaves in one of RESUMABLE while it is written outlives a kill, so that it can go on from there.

Where several machines share the stages (shared.py), a stage is made by who holds its lease as well. Where they share a
folder, what is being written bears the lease's number, so that who was taken over writes to a folder that is gone:

    ROOT/.leases/<stage>-<key>/<n>                 who makes a stage
    ROOT/.partial/<stage>-<key>.<n>/               being written, by whoever holds the lease number n

Where the folder is the cache of a URL (mirror.py), finished stages come from there and go there (sending.py):

    ROOT/.sending/<stage>-<key>                    from before a stage is finished here until it has arrived there
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.store.files import remove, sha256_of, sync, write_json
from gatebench.bench.store.index import StageAddress
from gatebench.bench.store.lease import Lease, Leases
from gatebench.bench.store.manifest import MANIFEST, KeptFile, Manifest, Unsound, elsewhere, read_manifest, sealed
from gatebench.bench.store.mirror import FETCHING, Mirror, Outdated, left_behind
from gatebench.bench.store.remote import say
from gatebench.bench.store.shared import Shared, shared_of
from gatebench.bench.store.use import alone_among_machines, used_by_machine

PARTIAL, LOCKS, DAMAGED, SENDING, USE = ".partial", ".locks", ".damaged", ".sending", ".use"
RESUMABLE = ("trainer", "checkpoints", "probes")
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP)  # what a file system of several machines may say to flock


class Lock:
    """Held until release() or the end of the process, however it ends. lease: held as well, among several machines;
    handle: None where the file system knows no flock."""

    def __init__(self, path: Path, handle: int | None, lease: Lease | None = None) -> None:
        self._path, self._handle, self.lease = path, handle, lease

    def release(self, made: bool = False) -> None:
        """made: what it was for is in the store now, where all can see it."""
        if self.lease is not None:
            self.lease.release(made)
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)


@dataclass(frozen=True)
class Store:
    root: Path

    @property
    def shared(self) -> Shared | None:
        """What several machines have of this store; None where it is one machine's."""
        return shared_of(self.root)

    @property
    def _folder_leases(self) -> Leases | None:
        """Those of a folder that several machines share."""
        return self.shared.leases if self.shared is not None and self.shared.mirror is None else None

    @property
    def mirror(self) -> Mirror | None:
        """What is behind this store, where it is the cache of a URL."""
        return self.shared.mirror if self.shared is not None else None

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def whole(self, kind: str, key: str) -> Path:
        """`path` of a finished stage that another one is to be made from, with its models, which are fetched where they
        are elsewhere. Raises UserError where they cannot be had."""
        folder = self.path(kind, key)
        if left := elsewhere(folder):
            if self.mirror is None:
                raise left_behind(folder, left)
            self.mirror.complete(kind, key)
        return folder

    def check_whole(self, addresses: Iterable[tuple[str, str]]) -> int:
        """Raise UserError where some of these finished stages cannot be made `whole`, before anything rests on it. What
        came from the URL and is there no more is set aside, to be made anew; returns of how many that is true."""
        outdated = 0
        for kind, key in addresses:
            folder = self.path(kind, key)
            with suppress(Unsound):  # `check` says so
                if not (lacking := elsewhere(folder)):
                    continue
                if self.mirror is not None:
                    with self.mirror.completing(kind, key):
                        try:
                            lacking = self.mirror.lacking(kind, key)
                        except Outdated:
                            place = self.set_aside(kind, key)
                            told = f"the models of {kind} {key} are not there any more; set aside as {place}, made anew"
                            say(f"{self.mirror.remote.url}: {told}")
                            outdated += 1
                            continue
                if lacking:
                    raise left_behind(folder, lacking)
        return outdated

    def is_finished(self, kind: str, key: str) -> bool:
        manifest = self.path(kind, key) / MANIFEST
        if not manifest.exists() and self.mirror is not None:
            self.mirror.bring([(kind, key)])
        return manifest.exists()

    def manifest(self, kind: str, key: str) -> Manifest:
        """The manifest of a finished stage. Raises Unsound where it is not its own any more."""
        return read_manifest(self.path(kind, key))

    def inputs(self, kind: str, key: str) -> dict[str, Path]:
        """The folders that a finished stage was made from, by role, as far as they are there."""
        made_from = self.manifest(kind, key)["inputs"]
        places = {role: next(self.root.glob(f"*/{own}"), None) for role, own in made_from.items()}
        return {role: place for role, place in places.items() if place is not None}

    def finished(self, kind: str) -> Iterator[str]:
        """Keys of the finished stages of a kind, of those that are on this machine."""
        folder = self.root / kind
        if folder.exists():
            yield from sorted(entry.name for entry in folder.iterdir() if (entry / MANIFEST).exists())

    def all_finished(self) -> list[StageAddress]:
        """Every finished stage that is on this machine, of whatever kind."""
        kinds = sorted(folder.name for folder in self.root.glob("[!.]*") if folder.is_dir())
        return [StageAddress(kind, key) for kind in kinds for key in self.finished(kind)]

    def finished_among(self, addresses: Iterable[tuple[str, str]]) -> set[str]:
        """The keys of those stages, given as (kind, key), that are finished. Fetches what is finished elsewhere."""
        wanted = list(addresses)
        if self.mirror is not None:
            self.mirror.bring(wanted)
        held = {kind: set(self.finished(kind)) for kind in {kind for kind, _ in wanted}}
        return {key for kind, key in wanted if key in held[kind]}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While it lasts nothing is deleted from the store. A store that is not there, or cannot be written to, has
        nothing that could be."""
        if not self.root.is_dir():
            yield
            return
        try:
            handle = os.open(self.root / USE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            with used_by_machine(self.root, self._folder_leases):
                yield
        finally:
            os.close(handle)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While it lasts nobody else uses the store. Raises UserError where somebody does."""
        if not self.root.is_dir():
            yield
            return
        handle = os.open(self.root / USE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.root}: a run or report is using this store; wait for its end or stop it"
                ) from None
            if any(self._held_by_another(entry) for entry in (self.root / LOCKS).glob("*")):
                raise UserError(f"{self.root}: a run is writing to this store; wait for its end or stop it")
            with alone_among_machines(self.root, self._folder_leases):
                yield
        finally:
            os.close(handle)

    def lock(self, kind: str, key: str) -> Lock | None:
        """The right to make a stage, or None while another living process has it."""
        lock = self.lock_here(kind, key)
        if lock is None or self.shared is None:
            return lock
        try:
            lease = self.shared.leases.take(f"{kind}-{key}")
        except BaseException:
            lock.release()
            raise
        if lease is None:
            lock.release()
            return None
        lock.lease = lease
        self.shared.look_anew(self.root / kind)  # the caller asks next whether another one finished it
        return lock

    def lock_here(self, kind: str, key: str) -> Lock | None:
        """`lock` among the processes of this machine."""
        path = self.root / LOCKS / f"{kind}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # nothing of ours, and in the way
            self._move_aside(path, f"{kind}-{key}")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                return Lock(path, handle)
        except (BlockingIOError, FileNotFoundError):
            pass  # held by another, or released between opening and locking: the caller tries again
        except OSError as error:
            if self.shared is None or error.errno not in NO_LOCKS_HERE:
                raise
            os.close(handle)
            return Lock(path, None)  # the lease alone decides
        os.close(handle)
        return None

    def _held_by_another(self, entry: Path) -> bool:
        """Whether a living process makes the stage that a lock or an unfinished folder is named after."""
        kind, dash, key = entry.name.partition("-")
        if not dash or (self.root / LOCKS / entry.name).is_dir():
            return False  # nothing of ours
        key = key.partition(".")[0]
        held = self.lock_here(kind, key)
        if held is not None:
            held.release()
        return held is None or (self.shared is not None and self.shared.leases.is_held(f"{kind}-{key}"))

    def begin(self, kind: str, key: str) -> Path:
        """The folder to write a stage into, empty but for what a killed run left to go on from. Needs the lock."""
        place = self.root / PARTIAL / f"{kind}-{key}"
        if self._folder_leases is not None:
            place = self._taken_over(place, self._folder_leases.held_here(place.name))
        if place.is_file():
            remove([place])
        place.mkdir(parents=True, exist_ok=True)
        clear(place)
        return place

    def _taken_over(self, place: Path, lease: Lease | None) -> Path:
        """The folder of a lease's own number, with what those before it left. Needs the lock."""
        own = place.with_name(f"{place.name}.{lease.generation if lease else 0}")
        before = [found for found in place.parent.glob(f"{place.name}.*") if found != own]
        before.sort(key=lambda found: int(found.suffix[1:]) if found.suffix[1:].isdigit() else -1)
        if before and not own.exists():
            os.rename(before.pop(), own)
        remove(before)
        return own

    def unsent_mark(self, kind: str, key: str) -> Path:
        """The file that stands while a finished stage has not arrived at the URL."""
        return self.root / SENDING / f"{kind}-{key}"

    def commit(self, place: Path, kind: str, key: str, told: Mapping[str, object]) -> Path:
        """Sync what was written, add the manifest and rename the folder into its place. Needs the lock, which is kept
        until the stage has been sent (sending.py).

        told: what the manifest says beside kind, key and files: the rest of the identity, facts.
        """
        files: dict[str, KeptFile] = {}
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            sync(file)
            stat = file.stat()
            files[str(file.relative_to(place))] = {
                "sha256": sha256_of(file), "bytes": stat.st_size, "changed": stat.st_mtime_ns
            }  # fmt: skip
        whole = {**told, "kind": kind, "key": key, "files": files, "finished": time.time()}
        write_json(place / MANIFEST, sealed(whole))
        target = self.path(kind, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._folder_leases is not None:
            self._folder_leases.check(f"{kind}-{key}")
        if target.exists() and not (target / MANIFEST).exists():  # what somebody left of a stage
            self.set_aside(kind, key)
        if self.mirror is not None:
            mark = self.unsent_mark(kind, key)
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
            sync(mark.parent)
        try:
            os.rename(place, target)
        except OSError:
            if not (target / MANIFEST).exists():
                raise
            remove([place])  # another machine's came meanwhile, and counts
        sync(target.parent)
        return target

    def is_sound(self, kind: str, key: str, thorough: bool) -> bool:
        """`check` as a question."""
        try:
            self.check(kind, key, thorough)
        except Unsound:
            return False
        return True

    def check(self, kind: str, key: str, thorough: bool = False) -> None:
        """Raise Unsound where a file of a finished stage is not what its manifest says.

        The files that results are read from, those of the stage's own folder, are always hashed. Of those in folders
        below, models, one of the recorded size and time is believed; thorough: they are hashed as well. What is
        elsewhere is looked at when it comes.
        """
        folder = self.path(kind, key)
        left = elsewhere(folder)
        for name, wanted in self.manifest(kind, key)["files"].items():
            if name not in left and not _is_as_recorded(folder / name, wanted, thorough or "/" not in name):
                raise Unsound(folder, f"{name} is not what its manifest says")

    def set_aside(self, kind: str, key: str) -> Path:
        """Move a damaged stage out of the way, to be looked at and made again. Needs the lock."""
        return self._move_aside(self.path(kind, key), f"{kind}-{key}")

    def _move_aside(self, place: Path, name: str) -> Path:
        folder = self.root / DAMAGED
        folder.mkdir(exist_ok=True)
        taken = {found.name for found in folder.glob(f"{name}-*")}
        target = folder / next(own for n in range(len(taken) + 1) if (own := f"{name}-{n}") not in taken)
        os.rename(place, target)
        return target

    def set_asides(self, kind: str, key: str) -> list[str]:
        """Names of the damaged earlier versions of a stage."""
        return sorted(place.name for place in (self.root / DAMAGED).glob(f"{kind}-{key}-*"))

    def leftovers(self) -> list[Path]:
        """Folders of unfinished stages that no living process writes, locks of the dead, and damaged stages."""
        found = [*(self.root / DAMAGED).glob("*"), *(self.root / FETCHING).glob("*")]
        entries = [*(self.root / PARTIAL).glob("*"), *(self.root / LOCKS).glob("*")]
        found += [entry for entry in entries if not self._held_by_another(entry)]
        return [entry for entry in found if entry.exists()]


def clear(place: Path) -> None:
    """Remove what a killed stage left in its folder, but for what it can go on from."""
    for left in place.iterdir():
        if left.name not in RESUMABLE:
            remove([left])


def _is_as_recorded(file: Path, wanted: KeptFile, thorough: bool) -> bool:
    try:
        stat = file.stat()
        if stat.st_size != wanted["bytes"]:
            return False
        if not thorough and stat.st_mtime_ns == wanted.get("changed"):
            return True
        return sha256_of(file) == wanted["sha256"]
    except OSError:
        return False
