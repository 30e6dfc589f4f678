"""Finished stages of a cache on their way to the URL behind it. Of a store without a URL everything has arrived.

Where another machine was first at the URL, with other bits, its stage counts. So nothing is made from a stage that has
not arrived, and what a killed run did not send is sent by the next that meets it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatebench.bench.store.index import StageAddress
from gatebench.bench.store.manifest import MANIFEST, Unsound, origin
from gatebench.bench.store.mirror import Mirror
from gatebench.bench.store.remote import say
from gatebench.bench.store.store import Store


def is_unsent(store: Store, kind: str, key: str) -> bool:
    """Whether a finished stage has not arrived at the URL."""
    return store.unsent_mark(kind, key).exists()


def arrived_among(store: Store, addresses: Iterable[tuple[str, str]]) -> set[str]:
    """The keys of those stages, given as (kind, key), that are finished and have arrived."""
    wanted = list(addresses)
    finished = store.finished_among(wanted)
    if store.mirror is None:
        return finished
    return {key for kind, key in wanted if key in finished and not is_unsent(store, kind, key)}


def send(store: Store, kind: str, key: str) -> None:
    """Have a finished stage at the URL. Needs the lock."""
    mirror = store.mirror
    if mirror is None:
        return
    while not mirror.publish(kind, key) and not mirror.take(kind, key):
        pass  # what was there was damaged: now it is not there any more
    store.unsent_mark(kind, key).unlink(missing_ok=True)


def is_left(store: Store, kind: str, key: str) -> bool:
    """Whether a stage was left by a run that was killed before it had sent it, and is to be sent now; one that is
    damaged is set aside, to be made anew. Needs the lock."""
    if not is_unsent(store, kind, key) or not store.is_finished(kind, key):
        return False
    if not store.is_sound(kind, key, thorough=False):
        store.set_aside(kind, key)
        return False
    if _came_from_there(store, kind, key):
        store.unsent_mark(kind, key).unlink(missing_ok=True)
        return False
    return True


def _came_from_there(store: Store, kind: str, key: str) -> bool:
    """Whether a stage is a copy of the URL's, without its models. Raises Unsound."""
    return store.mirror is not None and origin(store.path(kind, key)) == store.mirror.remote.url


def has_arrived(store: Store, kind: str, key: str) -> bool:
    """Whether a stage is finished and at the URL: not yet if another process of this machine is sending it. One that
    nobody sends any more is sent first."""
    if not store.is_finished(kind, key):
        return False
    if not is_unsent(store, kind, key):
        return True
    lock = store.lock_here(kind, key)
    if lock is None:
        return False
    try:
        if is_left(store, kind, key):
            send(store, kind, key)
    finally:
        lock.release()
    return store.is_finished(kind, key)


def catch_up(store: Store) -> None:
    """Do what an earlier run that was killed could not: send what is finished here and not there, and remove the leases
    of what is finished."""
    if store.shared is None:
        return
    there = _send_missing(store, store.mirror) if store.mirror is not None else set()

    def is_over(name: str) -> bool:
        kind, _, key = name.partition("-")
        return (kind, key) in there or (store.path(kind, key) / MANIFEST).exists()

    store.shared.leases.forget(is_over)


def _send_missing(store: Store, mirror: Mirror) -> set[StageAddress]:
    """Send what is finished here and not there; returns what was there before. What is damaged stays, to be found so
    and made anew; so does what came from there without its models and is there no more."""
    there = mirror.listed()
    missing = [
        (kind, key)
        for kind, key in store.all_finished()
        if ((kind, key) not in there or is_unsent(store, kind, key)) and _is_own(store, kind, key)
    ]
    if missing:
        say(f"uploading {len(missing)} finished stages that are not at {mirror.remote.url} yet")
    for kind, key in missing:
        lock = store.lock_here(kind, key)
        if lock is None:
            continue  # another process of this machine sends it
        try:
            if store.is_sound(kind, key, thorough=False) and _is_own(store, kind, key):
                send(store, kind, key)
        finally:
            lock.release()
    return there


def _is_own(store: Store, kind: str, key: str) -> bool:
    """Whether a stage can be sent: neither a copy without models nor so damaged that nobody can say."""
    try:
        return not _came_from_there(store, kind, key)
    except Unsound:
        return False
