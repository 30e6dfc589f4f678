"""The spool: what waits for MLflow is delivered in order, none lost, none twice."""

import subprocess
import sys

import pytest

from gatebench.bench.tracking.delivery import Refused
from gatebench.bench.tracking.entries import Entry
from gatebench.bench.tracking.spool import FOLDER, MARKS, Spool
from tests.helpers import ROOT, python

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
    for number, content in enumerate((b'{"what": "is this"}', b"{half", b"\xff", b"[" * 9000, b"3", b"")):
        (tmp_path / FOLDER / f"{number:020d}.json").write_bytes(content)
    server = Server()
    spool = Spool(tmp_path, URI, server)
    spool.put(entry(1))
    assert spool.close(5, silent) == 0
    assert [e.name for e in server.got] == ["cell 1"]
    assert len(spool.unreadable) == len(list((tmp_path / FOLDER).glob("*.unreadable"))) == 6


def test_every_flipped_bit_of_an_entry_is_noticed(tmp_path):
    spool = Spool(tmp_path, URI, Server(failures=10**6))
    spool.put(entry(0))
    spool.close(0.01, silent)
    (file,) = (tmp_path / FOLDER).glob("*.json")
    whole, name = file.read_bytes(), file.name
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / FOLDER / name).write_bytes(content)
        server = Server()
        Spool(tmp_path, URI, server).close(5, silent)
        assert server.got in ([], [entry(0)])  # a space or the like may be another one
        for left in (tmp_path / FOLDER).glob("*.unreadable"):
            left.unlink()
        (tmp_path / MARKS).unlink(missing_ok=True)


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{half", b"[]", b"3", b'{"place": 1}', b"[" * 9000])
def test_a_damaged_line_of_marks_marks_nothing_and_stops_nothing(tmp_path, line):
    server = Server()
    first = Spool(tmp_path, URI, server)
    first.put(entry(0))
    first.close(5, silent)
    content = (tmp_path / MARKS).read_bytes()
    (tmp_path / MARKS).write_bytes(line + b"\n" + content + line)
    second = Spool(tmp_path, URI, server)
    second.put(entry(0))
    second.put(entry(1))
    second.close(5, silent)
    assert [e.name for e in server.got] == ["cell 0", "cell 1"]
    assert Spool(tmp_path, URI, server).has(entry(1))  # on a line of its own


def test_several_runs_share_a_folder_without_losing_or_doubling_anything(tmp_path):
    """Four processes put forty entries each, ten of which are those of all, to a server that takes its time."""
    code = """
import sys, time
from pathlib import Path
from gatebench.bench.tracking.spool import Spool
from tests.bench.tracking.test_spool import entry
folder, number = Path(sys.argv[1]), int(sys.argv[2])
def deliver(entry):
    time.sleep(0.002)
    with (folder / "got").open("a") as file:
        file.write(entry.name + "\\n")
spool = Spool(folder, "http://127.0.0.1:9", deliver)
for n in range(40):
    spool.put(entry(n if n < 10 else 100 * number + n))
print(spool.close(60, print))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)], cwd=ROOT, stdout=subprocess.PIPE)
        for number in range(1, 5)
    ]
    assert [process.communicate()[0].split()[-1] for process in processes] == [b"0"] * 4
    wanted = [f"cell {n}" for n in range(10)] + [f"cell {100 * p + n}" for p in range(1, 5) for n in range(10, 40)]
    assert sorted((tmp_path / "got").read_text().splitlines()) == sorted(wanted)


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
