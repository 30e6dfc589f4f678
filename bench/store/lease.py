"""Who makes a stage, where several machines share a store: a lease that is renewed while its owner lives.

    <name>/000001, 000002 ...    a lease's generations; who holds the last one holds the lease

To take over is to create the next generation, which one alone can. A generation is never removed while somebody might
still want the lease, so no slow machine can create one that another has superseded.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.store.objects import Objects

LENGTH = 60.0  # seconds without a sign of life after which a lease is anybody's
BEATS = 4  # renewals in that time
SECONDS_BETWEEN_ASKS = 1.0  # at a lease that another one holds


class LeaseLost(UserError):
    """A stage that another machine took over while this one made it; nothing finished is lost."""

    exit_code = 1

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name.replace('-', ' ', 1)}: this machine gave no sign of life for {LENGTH:.0f} s, so that another one"
            " took the stage over; every finished stage is kept. Run again"
        )


@dataclass(frozen=True)
class Sign:
    """The sign of life that a generation is. owner: of the attempt; place: the system that its process runs in;
    process: its number and start; length: in seconds; beat: grows while the owner lives."""

    owner: str
    place: str
    process: tuple[int, str]
    length: float
    beat: int = 0
    released: bool = False

    def as_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def _sign(content: bytes) -> Sign:
    """What cannot be read is a stranger's that will not be renewed."""
    try:
        found = json.loads(content)
        number, started = found.pop("process")
        return Sign(process=(int(number), str(started)), length=float(found.pop("length")), **found)
    except (ValueError, KeyError, TypeError):
        return Sign("", "", (0, ""), LENGTH)


@dataclass
class Lease:
    """Held until release(). generation: how many had it before, and one."""

    name: str
    generation: int
    sign: Sign
    lost: bool = False
    _leases: Leases = field(repr=False, kw_only=True)

    @property
    def object_name(self) -> str:
        return f"{self.name}/{self.generation:06d}"

    def release(self, done: bool) -> None:
        """done: what it was for is there, so that nobody needs it any more and its traces can go."""
        self._leases.release(self, done)


class Leases:
    """Those of one store. One object a process: it renews in a thread all that this process holds."""

    def __init__(self, objects: Objects, impatient: Objects | None = None) -> None:
        """impatient: the same objects for what need not succeed, renewals and releases."""
        self._objects, self._impatient = objects, impatient or objects
        self._held: dict[str, Lease] = {}
        self._seen: dict[str, tuple[bytes, float, float]] = {}  # content, since when, last looked at
        self._asked: dict[str, float] = {}
        self._guard = threading.Lock()
        self._keeper: threading.Thread | None = None

    def take(self, name: str) -> Lease | None:
        """The lease, or None while another holds it."""
        if name in self._held or time.monotonic() - self._asked.get(name, -LENGTH) < SECONDS_BETWEEN_ASKS:
            return None
        last = self._last(name)
        if last and not self._is_free(last):
            self._asked[name] = time.monotonic()
            return None
        generation = int(last.rpartition("/")[2]) + 1 if last else 1
        sign = Sign(uuid.uuid4().hex, here(), this_process(), LENGTH)
        lease = Lease(name, generation, sign, _leases=self)
        if not self._objects.create(lease.object_name, sign.as_bytes()):
            return None
        with self._guard:
            self._held[name] = lease
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="leases", daemon=True)
                self._keeper.start()
        return lease

    def is_held(self, name: str) -> bool:
        """Whether somebody holds it, as far as one look can tell."""
        last = self._last(name)
        return last is not None and not self._is_free(last)

    def held(self) -> list[str]:
        """The names of all that somebody holds, as far as one look can tell."""
        names = {path.rpartition("/")[0] for path in self._objects.names("")}
        return sorted(name for name in names if self.is_held(name))

    def forget(self, is_over: Callable[[str], bool]) -> None:
        """Remove the leases that nobody holds any more and, by their names, nobody will ask for again."""
        paths = self._objects.names("")
        names = {path.rpartition("/")[0] for path in paths}
        for name in filter(is_over, sorted(names - self._held.keys())):
            if not self.is_held(name):
                self._objects.delete([path for path in paths if path.startswith(f"{name}/")])

    def held_here(self, name: str) -> Lease | None:
        """The lease of this process."""
        return self._held.get(name)

    def check(self, name: str) -> None:
        """Raise LeaseLost where another took over what this process held."""
        lease = self._held.get(name)
        if lease is not None and (lease.lost or self._last(name) != lease.object_name):
            lease.lost = True
            raise LeaseLost(name)

    def release(self, lease: Lease, done: bool) -> None:
        with self._guard:
            self._held.pop(lease.name, None)
        with suppress(OSError, UserError):  # a lease that cannot be given back runs out
            if done:
                self._impatient.delete(self._impatient.names(f"{lease.name}/"))
            elif not lease.lost:
                self._impatient.put(lease.object_name, replace(lease.sign, released=True).as_bytes())

    def _last(self, name: str, objects: Objects | None = None) -> str | None:
        return max((objects or self._objects).names(f"{name}/"), default=None)

    def _is_free(self, last: str) -> bool:
        """Whether its owner released it, died on this machine, or was not heard of for the lease's own length, by the
        clock of who looks: those of two machines are never compared."""
        content = self._objects.read(last)
        if content is None:
            return False  # its stage was finished just now
        sign, now = _sign(content), time.monotonic()
        if sign.released:
            return True
        if sign.place == here():
            return not is_alive(sign.process)
        known, since, looked = self._seen.get(last, (b"", now, now))
        if known != content or now - looked > sign.length / 2:  # nobody looked for a while, who knows what happened
            since = now
        self._seen[last] = (content, since, now)
        return now - since > sign.length

    def _keep(self) -> None:
        while True:
            time.sleep(LENGTH / BEATS)
            with self._guard:
                held = list(self._held.values())
            for lease in held:
                try:
                    self._renew(lease)
                except (OSError, UserError):
                    continue  # the store is away, for the others too; the next beat tells

    def _renew(self, lease: Lease) -> None:
        if self._last(lease.name, self._impatient) != lease.object_name:
            lease.lost = lease.name in self._held
            return
        lease.sign = replace(lease.sign, beat=lease.sign.beat + 1)
        with self._guard:
            if lease.name in self._held:  # else released a moment ago
                self._impatient.put(lease.object_name, lease.sign.as_bytes())


@cache
def here() -> str:
    """What tells a running system, in which a process's number says who it is, from every other one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid.uuid4().hex  # nothing is known of other processes here: all are strangers


def this_process() -> tuple[int, str]:
    return os.getpid(), _started(os.getpid())


def is_alive(process: tuple[int, str]) -> bool:
    """Whether a process of this system runs: the number alone may have gone to another one since."""
    number, started = process
    return started != "" and _started(number) == started


def _started(number: int) -> str:
    """When a process began, in the system's ticks; empty where there is none, or a dead one that nobody buried."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
