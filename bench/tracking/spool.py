"""Entries on their way to MLflow: first on disk, then delivered in order, then forgotten.

A server that is down stops nothing: what waits is tried again with growing pauses, at the end of the run once more,
and by the next run, which finds it on disk. An entry is remembered as delivered only after MLflow has all of it, and
delivering it twice leaves it there once, so that no crash loses or doubles any.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from gatebench.bench.errors import is_disk_full
from gatebench.bench.store.files import write_json
from gatebench.bench.tracking.delivery import Delivery, Refused, first_line, sqlite_file
from gatebench.bench.tracking.entries import Entry, from_json, to_json

FOLDER, MARKS = "spool", "tracked.jsonl"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
SECONDS_OF_SILENCE = 2.0
Say = Callable[[str], None]


class Spool:
    """The entries of one run's folder for one tracking store; `put` from any thread, one thread delivers."""

    def __init__(self, folder: Path, uri: str, deliver: Callable[[Entry], None] | None = None) -> None:
        self.folder, self.uri = folder / FOLDER, uri
        self.deliver = deliver or Delivery(uri)
        self.marks_file = folder / MARKS
        self.marks = set(self._read_marks())
        self.refused: list[str] = []
        self.trouble: Exception | None = None
        self._work = threading.Condition()
        self._closed, self._deadline = False, float("inf")
        self._thread: threading.Thread | None = None
        self._next = max((int(file.stem) for file in self._waiting()), default=-1) + 1
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
            write_json(self.folder / f"{self._next:08d}.json", to_json(entry))
            self._next += 1
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
                say(f"MLflow: {len(self._waiting())} entries on their way to {self.uri}{why}")
            self._thread.join()
        return len(self._waiting())

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="MLflow", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                for file in self._waiting():
                    self._one(file)
                    pause = FIRST_PAUSE
                self.trouble = None
            except Exception as error:  # MLflow raises its own kinds and those of every backend it talks to
                self.trouble = error
                if is_disk_full(error):
                    return
            with self._work:
                waiting = bool(self._waiting())
                if self._closed and (not waiting or time.monotonic() >= self._deadline):
                    return
                if waiting and self.trouble is None:
                    continue
                left = max(0.05, self._deadline - time.monotonic())
                self._work.wait(min(pause, left) if waiting else None)
                pause = min(2 * pause, LONGEST_PAUSE) if waiting else FIRST_PAUSE

    def _one(self, file: Path) -> None:
        try:
            entry = from_json(file.read_bytes())
        except ValueError:  # of another version of this program, which will log its results anew
            file.unlink()
            return
        if not self.has(entry):
            try:
                self.deliver(entry)
            except Refused as error:
                self.refused.append(f"{entry.name}: {first_line(error)}")
            self._mark(entry)
        file.unlink()

    def _waiting(self) -> list[Path]:
        return sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []

    def _mark(self, entry: Entry) -> None:
        self.marks.add(entry.mark)
        with self.marks_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"uri": self.uri, "mark": entry.mark, "name": entry.name}) + "\n")

    def _read_marks(self) -> Iterator[str]:
        """What this tracking store has already; a database that was removed has nothing."""
        database = sqlite_file(self.uri)
        if not self.marks_file.exists() or (database and not database.exists()):
            return
        for line in self.marks_file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the last line of a run that was killed while it wrote
                record = json.loads(line)
                if record["uri"] == self.uri:
                    yield record["mark"]
