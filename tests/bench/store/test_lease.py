"""A lease has one owner; who died, here or elsewhere, loses it, and who lives keeps it whatever the clocks say."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gatebench.bench.store import lease as leases_module
from gatebench.bench.store.lease import LeaseLost, Leases
from gatebench.bench.store.objects import SharedFolder
from tests.helpers import ROOT, wait_for

LENGTH = 2.0
HOLD = (
    "import sys, time; from pathlib import Path; from gatebench.bench.store import lease; "
    f"lease.LENGTH = {LENGTH}; from gatebench.bench.store.objects import SharedFolder; "
    "held = lease.Leases(SharedFolder(Path(sys.argv[1]))).take('train-k'); print(held is not None, flush=True); "
    "time.sleep(120)"
)
ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")  # processes that nobody here can see


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(leases_module, "LENGTH", LENGTH)
    monkeypatch.setattr(leases_module, "SECONDS_BETWEEN_ASKS", 0.0)


def machine(folder):
    return Leases(SharedFolder(folder))


@pytest.fixture
def elsewhere(tmp_path):
    """The lease in the hands of a process of another system."""
    if subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a system of processes of its own (unshare --pid) needs rights that this process does not have")
    words = [*ELSEWHERE, sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as process:
        assert process.stdout.readline() == "True\n"
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def test_one_of_many_at_once_has_it(tmp_path):
    won = []
    start = threading.Barrier(16)

    def take():
        mine = machine(tmp_path)
        start.wait()
        if mine.take("train-k"):
            won.append(mine)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_released_it_is_anybodys_and_leaves_nothing_once_it_is_done_with(tmp_path):
    one, two = machine(tmp_path), machine(tmp_path)
    held = one.take("train-k")
    assert two.take("train-k") is None
    assert two.is_held("train-k")
    held.release(done=False)
    again = two.take("train-k")
    assert again.generation == 2
    again.release(done=True)
    assert SharedFolder(tmp_path).names("") == []


def test_the_dead_of_this_machine_are_known_at_once(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "True\n"
        assert machine(tmp_path).take("train-k") is None
        other.send_signal(signal.SIGKILL)
        other.wait()
        started = time.monotonic()
        assert machine(tmp_path).take("train-k").generation == 2
        assert time.monotonic() - started < LENGTH


def test_who_lives_elsewhere_keeps_it_and_who_died_loses_it_after_its_length(tmp_path, elsewhere):
    mine = machine(tmp_path)
    until = time.monotonic() + 2 * LENGTH
    while time.monotonic() < until:
        assert mine.take("train-k") is None
        time.sleep(0.2)
    os.killpg(elsewhere.pid, signal.SIGKILL)
    started = time.monotonic()
    assert wait_for(lambda: mine.take("train-k"), "lease", 30).generation == 2
    assert LENGTH * 0.7 < time.monotonic() - started < 5 * LENGTH


def test_clocks_that_differ_change_nothing(tmp_path, elsewhere):
    """Whatever the dates of the files say, who renews has it."""
    file = tmp_path / "train-k/000001"
    mine = machine(tmp_path)
    for _ in range(20):
        os.utime(file, (0, 0))
        assert mine.take("train-k") is None
        time.sleep(LENGTH / 8)


def test_who_did_not_look_for_a_while_watches_for_the_whole_length_again(tmp_path, elsewhere):
    """As after a server that was down: nobody could renew meanwhile."""
    mine = machine(tmp_path)
    assert mine.take("train-k") is None
    os.killpg(elsewhere.pid, signal.SIGSTOP)
    assert mine.take("train-k") is None
    time.sleep(1.5 * LENGTH)
    assert mine.take("train-k") is None
    os.killpg(elsewhere.pid, signal.SIGCONT)


def test_who_was_away_too_long_notices(tmp_path):
    one, two = machine(tmp_path), machine(tmp_path)
    held = one.take("train-k")
    sign = json.loads((tmp_path / held.object_name).read_text()) | {"place": "another system", "length": 0.2}
    one._held.clear()  # as frozen: nothing is renewed
    (tmp_path / held.object_name).write_text(json.dumps(sign))
    assert wait_for(lambda: two.take("train-k"), "lease", 10, 0.05).generation == 2
    one._held["train-k"] = held
    with pytest.raises(LeaseLost, match="train k: this machine gave no sign of life"):
        one.check("train-k")
    two.check("train-k")
    held.release(done=False)
    assert two.is_held("train-k")
    two.check("train-k")


@pytest.mark.parametrize("content", [b"", b"{half", b"[]", b'{"owner": 1}'])
def test_what_cannot_be_read_is_a_strangers_and_runs_out(tmp_path, content):
    (tmp_path / "train-k").mkdir()
    (tmp_path / "train-k/000003").write_bytes(content)
    mine = machine(tmp_path)
    assert mine.take("train-k") is None
    assert wait_for(lambda: mine.take("train-k"), "lease", 30).generation == 4
