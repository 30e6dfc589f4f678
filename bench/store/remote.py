"""A place behind a URL, by fsspec: asked again while it does not answer, told in one sentence where it never does."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gatebench.bench.errors import UserError, is_disk_full
from gatebench.bench.secrets import without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
LONGEST_OUTAGE = 120.0  # seconds for which a place that does not answer is asked again
PAUSE = 2.0  # seconds between two tries
LOCAL_PROTOCOLS = ("", "file")
FOR_FSSPEC: Mapping[str, Mapping[str, object]] = {  # of fsspec's file systems: who asks again is `Remote` alone
    **{name: {"auto_mkdir": True} for name in LOCAL_PROTOCOLS},
    "s3": {"config_kwargs": {"retries": {"total_max_attempts": 2}}},
}
QUERY = re.compile(r"\?[^\s\"']*")  # of a request's address
NO_RIGHTS = ("NoCredentials", "PermissionError", "InvalidAccessKey", "SignatureDoesNotMatch", "AccessDenied")


class Unreachable(UserError):
    """A remote store that did not answer for as long as it was asked; what is finished stays in the cache."""

    exit_code = 1


def say(sentence: str) -> None:
    print(without_secrets(sentence), file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Remote:
    """The objects below a URL. Raises Unreachable where it does not answer, UserError where it answers that it will
    not.

    What fsspec's file systems promise of `create` differs: S3 and GCS have it (a conditional put), the others look
    first and then write.
    """

    url: str
    patience: float = LONGEST_OUTAGE
    _system: AbstractFileSystem = field(init=False, repr=False, compare=False)
    _root: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        import fsspec

        own = FOR_FSSPEC.get(protocol_of(self.url), {})
        try:
            system, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False, **own)
        except ImportError as error:
            told = str(error).rstrip(".")
            raise UserError(f"{self.url}: {told}; for s3:// pip install 'gatebench[remote]'") from None
        except ValueError as error:
            raise UserError(f"{self.url}: {error}; expected a URL that fsspec knows, as in s3://bucket/path") from None
        system.retries = 1  # s3fs's own
        object.__setattr__(self, "_system", system)
        object.__setattr__(self, "_root", root.rstrip("/"))

    def impatient(self) -> Remote:
        return replace(self, patience=0.0)

    def check(self) -> None:
        """Raise UserError where the URL is of no place that can be read, a bucket that is not there for one."""
        if protocol_of(self.url) in LOCAL_PROTOCOLS:
            return
        bucket = next(part for part in self._root.split("/") if part)
        try:
            self._patiently(lambda: self._system.info(bucket))
        except FileNotFoundError:
            raise UserError(f"{self.url}: there is no {bucket}; make it first, or name another") from None

    def names(self, under: str) -> list[str]:
        return sorted(self._found(under))

    def sizes(self, under: str) -> dict[str, int]:
        """Bytes of all objects below `under`, by name."""
        return {name: int(str(info["size"])) for name, info in self._found(under).items()}

    def _found(self, under: str) -> dict[str, dict[str, object]]:
        def find() -> dict[str, dict[str, object]]:
            self._system.invalidate_cache()
            with suppress(FileNotFoundError):
                found: dict[str, dict[str, object]] = self._system.find(self._path(under), detail=True)
                return found
            return {}

        found = {path[len(self._root) + 1 :]: info for path, info in self._patiently(find).items()}
        return {
            name: info for name, info in found.items() if name.startswith(under)
        }  # some list an empty folder itself

    def read(self, name: str) -> bytes | None:
        return self.read_all([name]).get(name)

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """The contents of those objects that are there."""
        wanted = list(names)
        return self._patiently(lambda: self._cat(wanted))

    def _cat(self, names: Iterable[str]) -> dict[str, bytes]:
        """`read_all`, asked once."""
        paths = {self._path(name): name for name in names}
        found = self._system.cat(list(paths), on_error="return") if paths else {}
        for content in found.values():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
        return {paths[path]: content for path, content in found.items() if isinstance(content, bytes)}

    def create(self, name: str, content: bytes) -> bool:
        """Told by what stands there afterwards: a try whose answer was lost is answered "exists" when it is repeated,
        and file systems word that in many ways."""

        def try_it() -> bool:
            try:
                self._system.pipe_file(self._path(name), content, mode="create")
            except Exception as error:
                found = self._cat([name]).get(name)
                if is_disk_full(error) or (found is None and not isinstance(error, FileExistsError)):
                    raise
                return found == content
            return self._cat([name]).get(name) == content

        return self._patiently(try_it)

    def put(self, name: str, content: bytes) -> None:
        self._patiently(lambda: self._system.pipe_file(self._path(name), content))

    def delete(self, names: list[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._patiently(lambda name=name: self._system.rm_file(self._path(name)))  # type: ignore[misc]

    def upload(self, files: Mapping[str, Path]) -> None:
        """Files by the names of their objects; what is there with the same size stays."""
        there = {name for name in files if self._size(name) == files[name].stat().st_size}
        missing = {name: file for name, file in files.items() if name not in there}
        paths = [self._path(name) for name in missing]
        if missing:
            self._patiently(lambda: self._system.put(list(map(str, missing.values())), paths))

    def _size(self, name: str) -> int | None:
        def size() -> int | None:
            with suppress(FileNotFoundError):
                return int(self._system.info(self._path(name))["size"])
            return None

        return self._patiently(size)

    def download(self, name: str, file: Path) -> bool:
        """Write an object into a file; False where there is none."""

        def get() -> bool:
            with suppress(FileNotFoundError):
                self._system.get_file(self._path(name), str(file))
                return True
            return False

        return self._patiently(get)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _patiently(self, ask: Callable[[], T]) -> T:
        until = None
        while True:
            try:
                return ask()
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:  # each file system has errors of its own
                if is_disk_full(error):
                    raise
                told = QUERY.sub("", f"{type(error).__name__}: {error}".splitlines()[0])
                if any(words in told for words in NO_RIGHTS):
                    raise UserError(
                        f"{self.url}: no access ({told}); check the credentials in your environment"
                    ) from None
                now = time.monotonic()
                if until is None and self.patience:
                    say(f"{self.url} does not answer ({told}); asking again for {self.patience:.0f} s")
                until = until or now + self.patience
                if now >= until:
                    raise Unreachable(
                        f"{self.url}: no answer for {self.patience:.0f} s ({told}); every finished stage is kept in the"
                        " cache, and the next run uploads it. Run again when the store is back"
                    ) from None
            time.sleep(PAUSE)


def protocol_of(given: str) -> str:
    """s3 of s3://bucket; empty for a path."""
    head, separator, _ = given.partition("://")
    return head if separator else ""
