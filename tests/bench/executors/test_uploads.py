"""Uploads of finished stages: others are made meanwhile, what rests on them waits, and what failed is told."""

import threading
import uuid

import pytest

from gatebench.bench.executors.api import Finished, Resources, Started
from gatebench.bench.executors.local import EXECUTOR
from gatebench.bench.executors.loop import execute
from gatebench.bench.executors.uploads import Uploads
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.registry import MODULES
from gatebench.bench.store.mirror import Mirror
from gatebench.bench.store.remote import Remote, Unreachable
from gatebench.bench.store.sending import catch_up, send
from gatebench.bench.store.shared import CACHE_VARIABLE, results_folder
from gatebench.bench.store.store import Store
from tests.conformance import executor as conformance
from tests.conformance.executor import KIND, node, run_of
from tests.helpers import wait_for

LONGEST = 60.0  # seconds after which a stage counts as held up


@pytest.fixture
def url():
    return f"memory://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def store(tmp_path, monkeypatch, url):
    """The cache of a place behind a URL."""
    monkeypatch.setitem(MODULES, KIND, conformance.__name__)
    Remote("memory://bucket").put("made", b"")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return Store(results_folder(url) / "store")


@pytest.fixture
def run_plan(store, tmp_path):
    def to_the_end(listen, *nodes):
        executor = EXECUTOR.make(Resources(1, 1, 0, tmp_path / "logs"), run_of)
        try:
            return execute(Plan("p", (), {n.key: n for n in nodes}), store, executor, listen)
        finally:
            executor.close()

    return to_the_end


def test_others_are_made_while_one_is_uploaded_and_what_rests_on_it_waits(run_plan, store, url, monkeypatch):
    made, held_up, order = threading.Event(), [], []
    upload = Mirror.publish

    def slowly(self, kind, key):
        if key == "a" and not made.wait(LONGEST):
            held_up.append(key)
        return upload(self, kind, key)

    def listen(event):
        order.append((type(event), event.node.key))
        if order[-1] == (Started, "c"):
            made.set()

    monkeypatch.setattr(Mirror, "publish", slowly)
    outcome = run_plan(listen, node("a"), node("on-a", "a"), node("b"), node("c"))
    assert outcome.ran == {"a", "on-a", "b", "c"}
    assert not held_up
    assert order.index((Started, "c")) < order.index((Finished, "a")) < order.index((Started, "on-a"))
    assert sorted(Remote(url).names("stages/")) == [f"stages/{KIND}/{key}.json" for key in ("a", "b", "c", "on-a")]
    assert Remote(url).names("leases/") == []
    assert not list((store.root / ".locks").iterdir())


def test_an_upload_that_fails_ends_the_run_and_the_next_one_sends_it(run_plan, store, url, monkeypatch):
    def nobody_answers(self, kind, key):
        raise Unreachable(f"{url}: no answer")

    with monkeypatch.context() as change:
        change.setattr(Mirror, "publish", nobody_answers)
        with pytest.raises(Unreachable, match="no answer"):
            run_plan(lambda event: None, node("a"), node("on-a", "a"))
    assert store.is_finished(KIND, "a")
    assert Remote(url).names("stages/") == []
    assert not list((store.root / ".locks").iterdir())
    catch_up(store)
    outcome = run_plan(lambda event: None, node("a"), node("on-a", "a"))
    assert (outcome.cached, outcome.ran) == ({"a"}, {"on-a"})
    assert len(Remote(url).names("stages/")) == 2


def finished(store):
    """A stage that its maker has not sent yet."""
    place = store.begin(KIND, "a")
    (place / "text").write_text("a")
    store.commit(place, KIND, "a", {"inputs": {}})


def test_a_stage_that_another_run_of_the_machine_sends_is_waited_for(run_plan, store, url):
    """Another machine may have been first with other bits, which count."""
    lock = store.lock(KIND, "a")
    finished(store)
    order = []

    def listen(event):
        order.append((type(event), event.node.key))
        if order[-1] == (Finished, "b"):
            assert (Started, "on-a") not in order
            send(store, KIND, "a")
            lock.release(made=True)

    outcome = run_plan(listen, node("a"), node("on-a", "a"), node("b"))
    assert (outcome.cached, outcome.ran) == ({"a"}, {"on-a", "b"})
    assert order.index((Finished, "b")) < order.index((Started, "on-a"))
    assert len(Remote(url).names("stages/")) == 3


def test_what_another_run_was_killed_before_it_sent_is_sent(run_plan, store, url):
    finished(store)
    events = []
    outcome = run_plan(events.append, node("a"), node("on-a", "a"))
    assert (outcome.cached, outcome.ran) == ({"a"}, {"on-a"})
    assert [event.node.key for event in events if isinstance(event, Finished)] == ["on-a"]
    assert len(Remote(url).names("stages/")) == 2
    assert not list((store.root / ".locks").iterdir())


def test_who_stops_sends_no_more_and_keeps_the_lock_of_what_is_on_its_way(store, monkeypatch):
    going, goes_on, sent = threading.Event(), threading.Event(), []

    def slowly(self, kind, key):
        going.set()
        goes_on.wait(LONGEST)
        sent.append(key)
        return True

    monkeypatch.setattr(Mirror, "publish", slowly)
    uploads = Uploads(store)
    for name in ("a", "b"):
        uploads.begin(node(name))
    assert going.wait(LONGEST)
    locks = {name: store.lock(KIND, name) for name in ("a", "b")}
    uploads.stop(locks)
    assert store.lock(KIND, "a") is None  # until it has gone
    store.lock(KIND, "b").release()
    goes_on.set()
    uploads._sender.join(LONGEST)
    assert not uploads._sender.is_alive()
    assert sent == ["a"]
    store.lock(KIND, "a").release()


def test_what_arrived_before_one_failed_is_told_before_it(store, url, monkeypatch):
    def fails_for_b(self, kind, key):
        if key == "b":
            raise Unreachable(f"{url}: no answer")
        return True

    monkeypatch.setattr(Mirror, "publish", fails_for_b)
    uploads = Uploads(store)
    for name in ("a", "b"):
        uploads.begin(node(name))
    wait_for(lambda: uploads._ended.qsize() == 2, "end of both")
    ended = uploads.ended(0.0)
    assert next(ended).key == "a"
    with pytest.raises(Unreachable, match="no answer"):
        next(ended)
    assert uploads.under_way == 0
