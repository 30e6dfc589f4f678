"""Who uses a folder that several machines share, and who deletes from it.

Who uses it says so before looking for who deletes, who deletes says so before looking for users: one of two sees the
other.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.store.lease import BEATS, LENGTH, SECONDS_BETWEEN_ASKS, Leases
from gatebench.bench.store.remote import say

IN_USE, DELETING = "use", "alone"  # leases of who uses the store, and of who deletes from it


@contextmanager
def used_by_machine(root: Path, leases: Leases | None) -> Iterator[None]:
    """While it lasts no other machine deletes anything. leases: None for a store that is one machine's."""
    if leases is None:
        yield
        return
    leases.forget(_is_of_a_user)  # of those who died
    lease = leases.take(f"{IN_USE}-{uuid.uuid4().hex}")
    try:
        if leases.is_held(DELETING):
            say(f"{root}: something is deleted from this store at the moment; waiting for its end")
        while leases.is_held(DELETING):
            time.sleep(SECONDS_BETWEEN_ASKS)
        yield
    finally:
        if lease is not None:
            lease.release(done=True)


@contextmanager
def alone_among_machines(root: Path, leases: Leases | None) -> Iterator[None]:
    """While it lasts no other machine uses the store. Whether one lives shows when its lease should have been renewed,
    so this may take a lease's length. Raises UserError where one does."""
    if leases is None:
        yield
        return
    lease = leases.take(DELETING)
    until = time.monotonic() + 1.5 * LENGTH
    try:
        while lease is None or (held := [name for name in leases.held() if name != DELETING]):
            if lease is None or time.monotonic() > until:
                raise UserError(f"{root}: another machine is using this store; wait for the end of its run or report")
            say(f"{root}: watching whether the owner of {held[0]} lives")
            time.sleep(LENGTH / BEATS)
        leases.forget(_is_of_a_user)
        yield
    finally:
        if lease is not None:
            lease.release(done=True)


def _is_of_a_user(name: str) -> bool:
    return name.startswith(IN_USE)
