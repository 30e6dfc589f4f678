"""Finished stages on their way to the place behind the store, one after another, while others are made."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue

from gatebench.bench.plan.graph import Node
from gatebench.bench.store.sending import send
from gatebench.bench.store.store import Lock, Store

Ended = tuple[Node, BaseException | None]


class Uploads:
    """They are sent by a thread that nobody waits for at the end: what it did not send, the next run sends."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: SimpleQueue[Node | None] = SimpleQueue()
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._sender: threading.Thread | None = None
        self._turn = threading.Lock()
        self._stopped, self._in_hand = False, ""
        self._last: Lock | None = None
        self.under_way = 0

    def begin(self, node: Node) -> None:
        """A stage that is finished here."""
        self.under_way += 1
        if self._store.mirror is None:
            self._ended.put((node, None))
            return
        self._waiting.put(node)
        if self._sender is None:
            self._sender = threading.Thread(target=self._send, name="uploads", daemon=True)
            self._sender.start()

    def ended(self, seconds: float) -> Iterator[Node]:
        """The stages that arrived since; waits so long for the first. Raises what an upload raised, after those that
        arrived before it."""
        while self.under_way:
            try:
                node, error = self._ended.get(timeout=seconds)
            except Empty:
                return
            self.under_way -= 1
            if error is not None:
                raise error
            yield node
            seconds = 0.0

    def stop(self, locks: Mapping[str, Lock]) -> None:
        """Send no more, and release the locks, by keys: that of what is being sent once that has ended."""
        with self._turn:
            self._stopped = True
            self._last = locks.get(self._in_hand)
        for lock in locks.values():
            if lock is not self._last:
                lock.release()
        self._waiting.put(None)

    def _send(self) -> None:
        while (node := self._waiting.get()) is not None:
            with self._turn:
                if self._stopped:
                    return
                self._in_hand = node.key
            error = self._failure(node)
            with self._turn:
                self._in_hand = ""
                self._stopped = self._stopped or error is not None
                if self._last is not None:
                    self._last.release(made=error is None)
            self._ended.put((node, error))

    def _failure(self, node: Node) -> BaseException | None:
        """Send one; what that raised, to go on in the thread that waits for it."""
        try:
            send(self._store, node.kind, node.key)
        except BaseException as error:
            return error
        return None
