"""Which stores several machines share, and how: told by a mark in the store's folder, so that all who open it agree.

A path is one machine's store. `file:///mnt/results` is a folder that several machines mount; a path on a network file
system becomes one when it is first used. Any other URL is a store behind a cache, a folder of this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.store.files import write_json
from gatebench.bench.store.index import STAGES
from gatebench.bench.store.lease import Leases
from gatebench.bench.store.mirror import Mirror
from gatebench.bench.store.objects import SharedFolder
from gatebench.bench.store.remote import LOCAL_PROTOCOLS, Remote, protocol_of

MARK = ".shared"  # in a store's folder: {"url": of what it is the cache, or null}
LEASES = ".leases"  # in a shared folder
CACHE_VARIABLE = "GATEBENCH_CACHE"
NETWORK_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "fuse.glusterfs",
    "fuse.sshfs", "9p", "afs", "wekafs",
}  # fmt: skip


@dataclass(frozen=True)
class Shared:
    """mirror: where the folder is a cache; None where the machines share the folder itself."""

    leases: Leases
    mirror: Mirror | None

    def look_anew(self, kind: Path) -> None:
        """Have what is asked next of a kind's stages answered by what is there then."""
        if self.mirror is not None:
            self.mirror.look_anew()
        elif kind.is_dir():
            os.listdir(kind)  # NFS looks for changes when a folder is opened, not when one asks for a file


def shared_of(root: Path) -> Shared | None:
    """What several machines have of a store; None where it is one machine's."""
    try:
        mark = (root / MARK).read_text(encoding="utf-8")
    except OSError:
        return None
    return _shared(root.resolve(), mark)


@cache
def _shared(root: Path, mark: str) -> Shared:
    try:
        url = json.loads(mark)["url"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{root / MARK}: cannot be read; expected what `--results URL` writes there, give that again"
        ) from None
    if url is None:
        return Shared(Leases(SharedFolder(root / LEASES)), None)
    remote = Remote(url)
    return Shared(Leases(_Below(remote), _Below(remote.impatient())), Mirror(root, remote))


class _Below:
    """The leases of a URL: its objects below `leases`."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def names(self, under: str) -> list[str]:
        return [name.removeprefix("leases/") for name in self._remote.names(f"leases/{under}")]

    def read(self, name: str) -> bytes | None:
        return self._remote.read(f"leases/{name}")

    def create(self, name: str, content: bytes) -> bool:
        return self._remote.create(f"leases/{name}", content)

    def put(self, name: str, content: bytes) -> None:
        self._remote.put(f"leases/{name}", content)

    def delete(self, names: list[str]) -> None:
        self._remote.delete([f"leases/{name}" for name in names])


def results_folder(given: str) -> Path:
    """The folder of results that --results names: a path's own, a shared one's, or the cache of a URL, marked as what
    it is. Raises UserError for a URL of nothing that can be had."""
    protocol = protocol_of(given)
    if protocol in LOCAL_PROTOCOLS and (Path(given.rpartition("://")[2]) / STAGES).is_dir():
        raise UserError(f"{given}: this is what `bench store push` wrote; bench store pull {given} makes results of it")
    if not protocol:
        folder = Path(given)
        if _file_system(folder) in NETWORK_SYSTEMS:
            with suppress(OSError):  # what cannot be written to needs no leases
                _mark(folder, None)
        return folder
    url = given.rstrip("/")
    if protocol in LOCAL_PROTOCOLS:
        folder = Path(url.partition("://")[2])
        if not folder.is_absolute():
            raise UserError(f"{given}: expected file:// and a whole path, as in file:///mnt/results")
        _mark(folder, None)
        return folder
    Remote(url).check()
    folder = cache_folder() / _name(url)
    _mark(folder, url)
    return folder


def cache_folder() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "gatebench")


def _name(url: str) -> str:
    """A folder's name that is another one for every URL."""
    return f"{re.sub('[^A-Za-z0-9.]+', '-', url)[:60]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _mark(results: Path, url: str | None) -> None:
    store = results / "store"
    if shared_of(store) is None:
        store.mkdir(parents=True, exist_ok=True)
        write_json(store / MARK, {"url": url})


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder is on; empty where the system does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    mounts = {fields[1].replace("\\040", " "): fields[2] for line in lines if len(fields := line.split()) > 2}
    return next((mounts[str(p)] for p in (folder.resolve(), *folder.resolve().parents) if str(p) in mounts), "")
