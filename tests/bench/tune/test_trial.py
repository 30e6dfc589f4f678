"""A trial's training that is in the store already."""

import os
from types import SimpleNamespace

from gatebench.bench.models import loading
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages import train
from gatebench.bench.store.store import Store
from gatebench.bench.tune.trial import Runner
from tests.conformance.executor import Spec


def test_it_is_hashed_before_it_is_measured_and_made_anew_where_a_bit_is_another(tmp_path, monkeypatch):
    node = Node("train", Spec("a"), (), "k")
    made, measured = [], []

    def run(spec, inputs, out, report, watch):
        made.append(spec.name)
        (out / "model").mkdir(exist_ok=True)
        (out / "model/weights").write_bytes(b"right")
        return {}

    def measure(folder, weights):
        return SimpleNamespace(eval=lambda: (folder / "model/weights").read_bytes())

    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(loading, "load_policy", measure)
    monkeypatch.setattr(Runner, "_measured", lambda self, model: measured.append(model))
    runner = Runner(SimpleNamespace(store=tmp_path, name="study"))
    runner._trained(None, node)
    runner._trained(None, node)
    assert made == ["a"]
    file = Store(tmp_path).path("train", "k") / "model/weights"
    stat = file.stat()
    file.write_bytes(b"wrong")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a disk does it, which leaves the time
    runner._trained(None, node)
    assert made == ["a", "a"]
    assert measured == [b"right"] * 3
