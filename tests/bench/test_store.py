"""A stage is in the store whole or not at all."""

import json
import os
import subprocess
import sys

from bench.store import PARTIAL, Store, write_json


def test_commit_hashes_every_file_and_leaves_nothing_beside(tmp_path):
    store = Store(tmp_path)
    place = store.begin("train", "k1")
    (place / "sub").mkdir()
    (place / "sub" / "weights").write_bytes(b"abc")
    assert not store.is_finished("train", "k1")
    store.commit(place, "train", "k1", {"seconds": 1.0})
    manifest = store.manifest("train", "k1")
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest["files"] == {"sub/weights": {"sha256": sha, "bytes": 3}}
    assert manifest["seconds"] == 1.0
    assert list((tmp_path / PARTIAL).iterdir()) == []


def test_leftovers_of_dead_processes_are_swept_and_those_of_living_ones_kept(tmp_path):
    store = Store(tmp_path)
    store.begin("train", "own")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    dead = tmp_path / PARTIAL / f"train-k-{child.stdout.strip()}"
    dead.mkdir()
    store.begin("train", "other")
    assert sorted(p.name for p in (tmp_path / PARTIAL).iterdir()) == [
        f"train-other-{os.getpid()}",
        f"train-own-{os.getpid()}",
    ]


def test_the_second_to_finish_gives_way(tmp_path):
    store = Store(tmp_path)
    first = store.begin("train", "k")
    (first / "a").write_text("1")
    second = tmp_path / PARTIAL / f"train-k-{os.getpid()}0"
    second.mkdir()
    store.commit(first, "train", "k", {"who": 1})
    store.commit(second, "train", "k", {"who": 2})
    assert store.manifest("train", "k")["who"] == 1
    assert not second.exists()


def test_write_json_replaces_whole_files(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"a": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
