"""The shared loop: stages run as soon as their inputs are finished; a failed stage skips what rests on it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from gatebench.bench.errors import DiskFull
from gatebench.bench.executors.api import (
    Damaged,
    Elsewhere,
    Executor,
    Finished,
    Listener,
    Made,
    Outcome,
    OutOfDisk,
    Progressed,
    Skipped,
    Started,
    Told,
)
from gatebench.bench.executors.turns import StageTurns
from gatebench.bench.executors.uploads import Uploads
from gatebench.bench.plan.graph import Node, Plan, identity
from gatebench.bench.stages.stage import code_revision
from gatebench.bench.store.sending import arrived_among, is_left, is_unsent
from gatebench.bench.store.store import Lock, Store

SECONDS_BETWEEN_LOOKS = 0.2  # at a stage that another run on the same store is making


def check_store(plan: Plan, store: Store, to_be_read: Collection[str] = ()) -> list[Damaged]:
    """Set aside every damaged stage of the plan; one event each.

    What a stage to be run will read is hashed, and so is what results are read from; for models that nothing will
    read, size and time of the files are believed. to_be_read: keys of what is read beside that.

    Raises UserError where a stage to be run would read what was not carried along.
    """
    while True:
        finished = store.finished_among(plan.addresses)
        read = {i for key, node in plan.nodes.items() if key not in finished for _, _, i in node.inputs} | {*to_be_read}
        if not store.check_whole((plan.nodes[key].kind, key) for key in read & finished):
            break  # else what is to be made anew reads more
    events = []
    for key in finished:
        node = plan.nodes[key]
        if store.is_sound(node.kind, key, thorough=key in read):
            continue
        lock = store.lock(node.kind, key)
        if lock is None:
            continue  # another run has seen it as well
        try:
            if store.is_finished(node.kind, key) and not store.is_sound(node.kind, key, thorough=key in read):
                events.append(Damaged(node, store.set_aside(node.kind, key)))
        finally:
            lock.release()
    return events


def execute(
    plan: Plan,
    store: Store,
    executor: Executor,
    listen: Listener,
    fail_fast: bool = False,
    order: Iterable[str] | None = None,
) -> Outcome:
    """Have every stage of the plan in the store; finished ones are not run again.

    Two runs on one store share the work: a stage that another one makes is waited for. order: every key of the plan,
    which of the stages that can run goes first; the plan's own where none is given. It changes no result.
    """
    turns = StageTurns(plan.inputs, plan.nodes if order is None else order)
    return _Run(plan, store, executor, listen, fail_fast, turns).to_the_end()


class _Run:
    def __init__(
        self, plan: Plan, store: Store, executor: Executor, listen: Listener, fail_fast: bool, turns: StageTurns
    ) -> None:
        self.plan, self.store, self.executor, self.listen, self.fail_fast = plan, store, executor, listen, fail_fast
        self.turns = turns
        self.outcome = Outcome()
        self.before = arrived_among(store, plan.addresses)
        self.locks: dict[str, Lock] = {}
        self.uploads = Uploads(store)

    def to_the_end(self) -> Outcome:
        try:
            while not self.turns.over:
                self._start()
                if len(self.locks) > self.uploads.under_way:
                    for told in self.executor.results():
                        self._note(told)
                    self._settle(0.0)
                elif self.locks:
                    self._settle(SECONDS_BETWEEN_LOOKS)
                elif not self.turns.over:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except BaseException:
            self.executor.close()  # before the locks go: another run may take over at once
            raise
        finally:
            self.uploads.stop(self.locks)
        return self.outcome

    def _start(self) -> None:
        """Settle and start stages by turns while there is room."""
        elsewhere = []
        while self.executor.has_room() and (key := self.turns.next()) is not None:
            if not self._take(key):
                elsewhere.append(key)
        self.turns.later(elsewhere)

    def _take(self, key: str) -> bool:
        """Settle or start a stage whose inputs are there; False where another run has it."""
        node = self.plan.nodes[key]
        if any(i in self.outcome.failed or i in self.outcome.skipped for _, _, i in node.inputs):
            self._skip(node)
        elif self.store.is_finished(node.kind, key):
            if is_unsent(self.store, node.kind, key):
                return self._take_over(node, self.store.lock_here(node.kind, key))
            self.outcome.cached.add(key)
            if key not in self.before:
                self.listen(Elsewhere(node))
        elif self.fail_fast and self.outcome.failed:
            self._skip(node)
        else:
            lock = self.store.lock(node.kind, key)
            if lock is None:
                return False
            if self.store.is_finished(node.kind, key):  # by another run, while this one was asking
                return self._take_over(node, lock)
            self.locks[key] = lock
            inputs = {role: self.store.whole(kind, i) for role, kind, i in node.inputs}
            self.executor.start(node, self.store.begin(node.kind, key), inputs)
            self.listen(Started(node))
            return True
        self.turns.done(key)
        return True

    def _skip(self, node: Node) -> None:
        self.outcome.skipped.add(node.key)
        self.listen(Skipped(node))

    def _take_over(self, node: Node, lock: Lock | None) -> bool:
        """Send a finished stage that another run has left; False where there is nothing to do but to ask again: it is
        being sent, or has arrived, or is to be made anew."""
        if lock is None:
            return False
        if not is_left(self.store, node.kind, node.key):
            lock.release(made=self.store.is_finished(node.kind, node.key))
            return False
        self.outcome.cached.add(node.key)
        self.locks[node.key] = lock
        self.uploads.begin(node)
        return True

    def _note(self, told: Told) -> None:
        node = told.node
        if isinstance(told, Progressed):
            self.listen(told)
            return
        if isinstance(told, OutOfDisk):
            raise DiskFull(self.store.root)
        if isinstance(told, Made):
            self._keep(told)
            if self.store.mirror is not None:
                self.listen(Progressed(node, 1.0, "uploading"))
            self.uploads.begin(node)
        else:
            self.outcome.failed[node.key] = told.failure
            self.listen(told)
            self._end(node, made=False)

    def _settle(self, seconds: float) -> None:
        """End the stages that are where they have to be; wait so long for the first."""
        for node in self.uploads.ended(seconds):
            if node.key in self.outcome.cached:
                self.listen(Elsewhere(node))
            else:
                self.outcome.ran.add(node.key)
                self.listen(Finished(node))
            self._end(node, made=True)

    def _end(self, node: Node, made: bool) -> None:
        self.locks.pop(node.key).release(made)
        self.turns.done(node.key)

    def _keep(self, made: Made) -> None:
        node = made.node
        manifest = {**made.facts, **identity(node.kind, node.spec, node.inputs), "code": code_revision()}
        remade = self.store.set_asides(node.kind, node.key)
        self.store.commit(made.place, node.kind, node.key, {**manifest, "remade": remade} if remade else manifest)
