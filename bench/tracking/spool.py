"""Entries on their way to MLflow: first on disk, then delivered in order, then forgotten.

A server that is down stops nothing: what waits is tried again with growing pauses, at the end of the run once more,
and by the next run, which finds it on disk. An entry is remembered as delivered only after MLflow has all of it, and
delivering it twice leaves it there once, so that no crash loses or doubles any. Several runs may share a folder: each
writes files of its own, and one at a time delivers what there is.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gatebench.bench import keys
from gatebench.bench.errors import is_disk_full
from gatebench.bench.secrets import without_secrets
from gatebench.bench.store.files import append_json, write_json
from gatebench.bench.tracking.delivery import Delivery, Refused, first_line, sqlite_file
from gatebench.bench.tracking.entries import Entry, from_json, to_json

FOLDER, MARKS, LOCK, SET_ASIDE = "spool", "tracked.jsonl", ".lock", ".unreadable"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
SECONDS_OF_SILENCE = 2.0
Say = Callable[[str], None]


class Busy(Exception):
    """Another process delivers the entries of this folder."""


class Spool:
    """The entries of one run's folder for one tracking store; `put` from any thread, one thread delivers.

    refused: what MLflow will never take; unreadable: files that are no entry any more, and were set aside.
    """

    def __init__(self, folder: Path, uri: str, deliver: Callable[[Entry], None] | None = None) -> None:
        self.folder, self.uri = folder / FOLDER, uri
        self.deliver = deliver or Delivery(uri)
        self.marks_file = folder / MARKS
        self.marks = set(self._read_marks())
        self.refused: list[str] = []
        self.unreadable: list[str] = []
        self.trouble: Exception | None = None
        self._work = threading.Condition()
        self._closed, self._deadline = False, float("inf")
        self._thread: threading.Thread | None = None
        self._written = 0
        if self._waiting():
            self._start()

    def has(self, entry: Entry) -> bool:
        """Whether an entry was delivered before."""
        return entry.mark in self.marks

    def put(self, entry: Entry) -> None:
        """Write an entry to the disk and see to its delivery; one that is delivered already is left out."""
        with self._work:
            if self.has(entry):
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{time.time_ns():020d}-{os.getpid()}-{self._written:06d}.json"
            write_json(self.folder / name, {"seal": keys.digest_of_json(to_json(entry)), "entry": to_json(entry)})
            self._written += 1
            self._start()
            self._work.notify()

    def close(self, patience: float, say: Say) -> int:
        """Have the rest delivered, as long as the server answers or `patience` seconds last; returns how many entries
        then wait on disk. say: told what takes so long."""
        with self._work:
            self._closed, self._deadline = True, time.monotonic() + patience
            self._work.notify()
        if self._thread:
            self._thread.join(SECONDS_OF_SILENCE)
            if self._thread.is_alive():
                why = f" ({type(self.trouble).__name__}: {first_line(self.trouble)})" if self.trouble else ""
                say(f"MLflow: {len(self._waiting())} entries on their way to {without_secrets(self.uri)}{why}")
            self._thread.join()
        return len(self._waiting())

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="MLflow", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        pause = FIRST_PAUSE
        while True:
            busy = False
            try:
                for file in self._waiting():
                    with self._alone():
                        self._one(file)
                    pause = FIRST_PAUSE
                self.trouble = None
            except Busy:
                busy, self.trouble = True, None
            except Exception as error:  # MLflow raises its own kinds and those of every backend it talks to
                self.trouble = error
                if is_disk_full(error):
                    return
            with self._work:
                waiting = bool(self._waiting())
                if self._closed and (not waiting or time.monotonic() >= self._deadline):
                    return
                if waiting and self.trouble is None and not busy:
                    continue
                left = max(0.05, self._deadline - time.monotonic())
                self._work.wait(min(pause, left) if waiting else None)
                pause = min(2 * pause, LONGEST_PAUSE) if waiting else FIRST_PAUSE

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises Busy while another process delivers."""
        with (self.folder / LOCK).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            self.marks |= set(self._read_marks())
            yield

    def _one(self, file: Path) -> None:
        try:
            entry = _entry_of(file.read_bytes())
        except FileNotFoundError:  # delivered by another run meanwhile
            return
        except (ValueError, KeyError, TypeError, RecursionError):
            file.rename(file.with_suffix(SET_ASIDE))
            self.unreadable.append(file.name)
            return
        if not self.has(entry):
            try:
                self.deliver(entry)
            except Refused as error:
                self.refused.append(f"{entry.name}: {first_line(error)}")
            self._mark(entry)
        file.unlink()

    def _waiting(self) -> list[Path]:
        return sorted(file for file in self.folder.glob("*.json") if file.is_file()) if self.folder.is_dir() else []

    def _mark(self, entry: Entry) -> None:
        self.marks.add(entry.mark)
        append_json(self.marks_file, {"place": keys.digest(self.uri), "mark": entry.mark, "name": entry.name})

    def _read_marks(self) -> Iterator[str]:
        """What this tracking store has already; a database that was removed has nothing."""
        database = sqlite_file(self.uri)
        if not self.marks_file.exists() or (database and not database.exists()):
            return
        for line in self.marks_file.read_bytes().splitlines():
            # a line that a killed run left half, or that was damaged, marks nothing: its entry is delivered again
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                record = json.loads(line)
                if record["place"] == keys.digest(self.uri):
                    yield str(record["mark"])


def _entry_of(content: bytes) -> Entry:
    """What a file holds; ValueError or the like where it is not what was written."""
    found = json.loads(content)
    if keys.digest_of_json(found["entry"]) != found["seal"]:
        raise ValueError("the entry was changed")
    return from_json(json.dumps(found["entry"]))
