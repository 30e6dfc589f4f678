"""Finished stages of a cache on their way to the URL behind it. Of a store without a URL everything has arrived.

Where another machine was first at the URL, with other bits, its stage counts. So nothing is made from a stage that has
not arrived, and what a killed run did not send is sent by the next that meets it.
"""

from __future__ import annotations

from gatebench.bench.store.files import remove
from gatebench.bench.store.manifest import MANIFEST
from gatebench.bench.store.mirror import Mirror, StageAddress
from gatebench.bench.store.remote import say
from gatebench.bench.store.store import SENDING, Store


def send(store: Store, kind: str, key: str) -> None:
    """Have a finished stage at the URL. Needs the lock."""
    mirror = store.mirror
    if mirror is None:
        return
    if not mirror.publish(kind, key):
        remove([store.path(kind, key)])
        mirror.look_anew()
        mirror.bring([(kind, key)])
    (store.root / SENDING / f"{kind}-{key}").unlink(missing_ok=True)


def has_arrived(store: Store, kind: str, key: str) -> bool:
    """Whether a finished stage is at the URL: not yet if another process of this machine is sending it. One that nobody
    sends any more is sent first."""
    mark = store.root / SENDING / f"{kind}-{key}"
    if not mark.exists():
        return True
    lock = store.lock_here(kind, key)
    if lock is None:
        return False
    try:
        if mark.exists():
            send(store, kind, key)
    finally:
        lock.release()
    return True


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
    """Send what is finished here and not there; returns what was there before."""
    there = mirror.listed()
    kinds = [folder.name for folder in store.root.glob("[!.]*") if folder.is_dir()]
    missing = [
        (kind, key)
        for kind in kinds
        for key in store.finished(kind)
        if (kind, key) not in there or (store.root / SENDING / f"{kind}-{key}").exists()
    ]
    if missing:
        say(f"uploading {len(missing)} finished stages that are not at {mirror.remote.url} yet")
    for kind, key in missing:
        lock = store.lock_here(kind, key)
        if lock is None:
            continue  # another process of this machine sends it
        try:
            send(store, kind, key)
        finally:
            lock.release()
    return there
