"""A stage is in the store whole or not at all; damage is noticed; locks end with their process."""

import json
import os
import signal
import subprocess
import sys

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.store.files import remove, write_json
from gatebench.bench.store.manifest import Unsound
from gatebench.bench.store.store import DAMAGED, LOCKS, PARTIAL, Store
from tests.helpers import ROOT

HOLD = "import sys, time; from gatebench.bench.store.store import Store; from pathlib import Path; "
HOLD += (
    "lock = Store(Path(sys.argv[1])).lock('train', 'k'); print('held' if lock else 'no', flush=True); time.sleep(60)"
)


def make(store, key="k", text=b"abc"):
    lock = store.lock("train", key)
    place = store.begin("train", key)
    (place / "sub").mkdir()
    (place / "sub" / "weights").write_bytes(text)
    store.commit(place, "train", key, {"seconds": 1.0})
    lock.release()


def test_commit_hashes_every_file_and_leaves_nothing_beside(tmp_path):
    store = Store(tmp_path)
    assert not store.is_finished("train", "k")
    make(store)
    manifest = store.manifest("train", "k")
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest["files"]["sub/weights"]["sha256"] == sha
    assert manifest["files"]["sub/weights"]["bytes"] == 3
    assert manifest["seconds"] == 1.0
    assert list((tmp_path / PARTIAL).iterdir()) == []
    assert list((tmp_path / LOCKS).iterdir()) == []
    assert list(store.finished("train")) == ["k"]


def test_begin_keeps_what_a_killed_run_can_go_on_from_and_nothing_else(tmp_path):
    store = Store(tmp_path)
    place = store.begin("train", "k")
    for name in ("trainer", "checkpoints", "model"):
        (place / name).mkdir()
    (place / "half.parquet").write_text("half")
    assert sorted(p.name for p in store.begin("train", "k").iterdir()) == ["checkpoints", "trainer"]


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "manifest"])
def test_damage_is_noticed_and_set_aside(tmp_path, damage, thorough):
    store = Store(tmp_path)
    make(store)
    assert store.is_sound("train", "k", thorough)
    file = store.path("train", "k") / "sub" / "weights"
    if damage == "flip":
        file.write_bytes(b"abd")
    elif damage == "cut":
        file.write_bytes(b"ab")
    elif damage == "delete":
        file.unlink()
    else:
        (store.path("train", "k") / "manifest.json").write_text("{half")
    assert not store.is_sound("train", "k", thorough)
    place = store.set_aside("train", "k")
    assert place.parent.name == DAMAGED
    assert not store.is_finished("train", "k")
    make(store)
    assert store.is_sound("train", "k", thorough)


def test_a_flip_that_keeps_size_and_time_is_noticed_by_the_thorough_look(tmp_path):
    store = Store(tmp_path)
    make(store)
    file = store.path("train", "k") / "sub" / "weights"
    stat = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.is_sound("train", "k", thorough=False)
    assert not store.is_sound("train", "k", thorough=True)


def test_a_copied_store_is_sound(tmp_path):
    store = Store(tmp_path / "a")
    make(store)
    subprocess.run(["cp", "-r", tmp_path / "a", tmp_path / "b"], check=True)
    assert Store(tmp_path / "b").is_sound("train", "k", thorough=False)


def test_a_lock_is_held_by_one_and_freed_by_release_or_death(tmp_path):
    store = Store(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert store.lock("train", "k") is None
        assert store.lock("train", "another") is not None
        other.send_signal(signal.SIGKILL)
    lock = store.lock("train", "k")
    assert lock is not None
    assert store.lock("train", "k") is None
    lock.release()
    assert store.lock("train", "k") is not None


def test_leftovers_are_what_no_living_process_writes(tmp_path):
    store = Store(tmp_path)
    mine = store.lock("train", "mine")
    store.begin("train", "mine")
    store.begin("train", "dead")
    (tmp_path / LOCKS / "train-gone").touch()
    make(store)
    store.set_aside("train", "k")
    assert sorted(p.name for p in store.leftovers()) == ["train-dead", "train-k-0"]
    remove(store.leftovers())
    assert store.leftovers() == []
    assert (tmp_path / PARTIAL / "train-mine").exists()
    mine.release()


def test_write_json_replaces_whole_files(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"a": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_result_whose_size_and_time_were_kept_is_hashed_all_the_same(tmp_path):
    """What stands in the stage's own folder is what figures are read from."""
    store = Store(tmp_path)
    place = store.begin("train", "k")
    (place / "curves").write_bytes(b"abc")
    file = store.commit(place, "train", "k", {}) / "curves"
    stat = file.stat()
    assert store.is_sound("train", "k", thorough=False)
    file.write_bytes(b"abd")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(Unsound, match="curves is not what its manifest says; `bench run` the suite again"):
        store.check("train", "k")


def test_two_swapped_folders_are_noticed(tmp_path):
    store = Store(tmp_path)
    for key in ("a", "b"):
        make(store, key, key.encode())
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        store.path("train", old).rename(store.path("train", new))
    for key, other in (("a", "b"), ("b", "a")):
        with pytest.raises(Unsound, match=f"its manifest is that of train {other}"):
            store.manifest("train", key)


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path):
    store = Store(tmp_path)
    make(store)
    file = store.path("train", "k") / "manifest.json"
    whole = file.read_bytes()
    missed = []
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        if store.is_sound("train", "k", thorough=False):
            missed.append(bytes(content))
    # spaces between tokens, and a seal that is not there under its name, change nothing that is read
    same = [json.loads(content) for content in missed]
    assert all(found | {"seal": 0} == json.loads(whole) | {"seal": 0} or "seal" not in found for found in same)
    assert len(missed) < 0.05 * 8 * len(whole)


def test_a_store_in_use_is_not_deleted_from(tmp_path):
    store = Store(tmp_path)
    with store.in_use(), store.in_use(), pytest.raises(UserError, match="is using this store"), store.alone():
        pass
    with store.alone():
        pass
    lock = store.lock("train", "k")
    with pytest.raises(UserError, match="is writing to this store"), store.alone():
        pass
    lock.release()
    with Store(tmp_path / "nowhere").alone(), Store(tmp_path / "nowhere").in_use():
        pass
    assert not (tmp_path / "nowhere").exists()


def test_what_is_not_ours_among_the_locks_and_beside_stages_is_in_nobodys_way(tmp_path):
    store = Store(tmp_path)
    (tmp_path / LOCKS / "train-k").mkdir(parents=True)
    (tmp_path / LOCKS / "stray").touch()
    (tmp_path / PARTIAL).mkdir()
    (tmp_path / PARTIAL / "train-k").write_text("a file")
    store.path("train", "k").mkdir(parents=True)
    (store.path("train", "k") / "half").touch()
    make(store)
    assert store.is_sound("train", "k", thorough=True)
    with store.alone():
        remove(store.leftovers())
    assert store.leftovers() == []
    assert list((tmp_path / LOCKS).iterdir()) == []
