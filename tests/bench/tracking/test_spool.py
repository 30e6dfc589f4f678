"""The spool: what waits for MLflow is delivered in order, none lost, none twice."""

import json

import pytest

from gatebench.bench.tracking.delivery import Refused
from gatebench.bench.tracking.entries import Entry
from gatebench.bench.tracking.spool import FOLDER, MARKS, Spool
from tests.helpers import python

URI = "http://127.0.0.1:9"


def entry(number):
    return Entry("suite", ("run", "1"), f"cell {number}", ("cell", str(number)), "v", metrics=(("loss", 0.5, 1, 7),))


class Server:
    """Down for its first `failures` requests."""

    def __init__(self, failures=0, refuses=()):
        self.failures, self.refuses, self.got = failures, refuses, []

    def __call__(self, entry):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("down")
        if entry.name in self.refuses:
            raise Refused("a bad value")
        self.got.append(entry)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("gatebench.bench.tracking.spool.FIRST_PAUSE", 0.01)


def silent(sentence):
    pass


def test_entries_arrive_in_order_and_once(tmp_path):
    server = Server()
    spool = Spool(tmp_path, URI, server)
    for number in range(20):
        spool.put(entry(number))
    spool.put(entry(3))
    assert spool.close(5, silent) == 0
    assert server.got == [entry(number) for number in range(20)]
    again = Spool(tmp_path, URI, server)
    again.put(entry(3))
    assert again.close(5, silent) == 0
    assert len(server.got) == 20


def test_a_server_that_comes_back_gets_everything(tmp_path):
    server = Server(failures=5)
    spool = Spool(tmp_path, URI, server)
    for number in range(3):
        spool.put(entry(number))
    assert spool.close(30, silent) == 0
    assert [e.name for e in server.got] == ["cell 0", "cell 1", "cell 2"]


def test_what_a_run_could_not_deliver_the_next_run_does(tmp_path):
    down = Spool(tmp_path, URI, Server(failures=10**6))
    down.put(entry(0))
    down.put(entry(1))
    assert down.close(0.05, silent) == 2
    assert isinstance(down.trouble, ConnectionError)
    server = Server()
    assert Spool(tmp_path, URI, server).close(5, silent) == 0
    assert [e.name for e in server.got] == ["cell 0", "cell 1"]


def test_a_kill_between_delivery_and_note_delivers_again_not_never(tmp_path):
    server = Server()
    spool = Spool(tmp_path, URI, server)
    spool.put(entry(0))
    spool.close(5, silent)
    (tmp_path / MARKS).write_text('{"uri": "' + URI)  # the line of the mark is cut
    again = Spool(tmp_path, URI, server)
    again.put(entry(0))
    again.close(5, silent)
    assert server.got == [entry(0), entry(0)]


def test_what_the_server_refuses_holds_up_nothing(tmp_path):
    server = Server(refuses=["cell 0"])
    spool = Spool(tmp_path, URI, server)
    spool.put(entry(0))
    spool.put(entry(1))
    assert spool.close(5, silent) == 0
    assert [e.name for e in server.got] == ["cell 1"]
    assert spool.refused == ["cell 0: a bad value"]


def test_another_server_and_a_removed_database_get_everything_anew(tmp_path):
    database = tmp_path / "mlflow.db"
    database.touch()
    uri, server = f"sqlite:///{database}", Server()
    for where in (uri, URI, uri):
        spool = Spool(tmp_path, where, server)
        spool.put(entry(0))
        spool.close(5, silent)
    assert len(server.got) == 2
    database.unlink()
    spool = Spool(tmp_path, uri, server)
    spool.put(entry(0))
    spool.close(5, silent)
    assert len(server.got) == 3


def test_an_entry_of_an_unknown_form_is_left_out(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "00000000.json").write_text(json.dumps({"what": "is this"}))
    server = Server()
    spool = Spool(tmp_path, URI, server)
    spool.put(entry(1))
    assert spool.close(5, silent) == 0
    assert [e.name for e in server.got] == ["cell 1"]


@pytest.mark.slow
def test_the_machines_load_and_a_delivery_can_be_first_at_the_same_moment(tmp_path):
    """Two threads inside MLflow's imports would leave it broken for the rest of the process."""
    code = """
import sys, threading, time
from gatebench.bench.tracking.delivery import Delivery
from gatebench.bench.tracking.entries import Entry
from gatebench.bench.tracking.tracker import _load

class Slow:  # the first thread is held in the middle of its import until the second is there
    inside = threading.Event()
    def find_spec(self, name, *_):
        if name == "mlflow.entities.assessment_error":
            self.inside.set()
            time.sleep(2)

sys.meta_path.insert(0, Slow())
load = threading.Thread(target=_load)
load.start()
Slow.inside.wait(60)
Delivery(sys.argv[1])(Entry("suite", ("run", "1"), "cell", ("cell", "1"), "v"))
load.join()
"""
    done = python(code, f"sqlite:///{tmp_path}/mlflow.db")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
