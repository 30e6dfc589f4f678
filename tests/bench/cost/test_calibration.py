"""What stages took on this machine, kept and timed."""

import json
from dataclasses import replace

import pytest

from gatebench.bench.cost.calibration import Record, records, remember
from gatebench.bench.machine import Machine
from gatebench.bench.store.store import Store
from tests.helpers import GOOD, bench, write

HERE = Machine("here", workers=2, gpus=0, memory=10**12)


def test_newer_records_replace_older_ones_of_the_same_work(tmp_path):
    store = Store(tmp_path)
    remember([Record("a", 1, 1.0), Record("b", 1, 1.0)], store, HERE)
    remember([Record("a", 1, 2.0), Record("a", 2, 3.0)], store, HERE)
    assert records(store, replace(HERE, name="another")) == []
    found = {(record.group, record.units): record.seconds for record in records(store, HERE)}
    assert found == {("a", 1): 2.0, ("b", 1): 1.0, ("a", 2): 3.0}


@pytest.mark.slow
def test_calibration_times_real_stages_and_keeps_them(tmp_path):
    suite = write(tmp_path, GOOD)
    done = bench("plan", suite, "--results", tmp_path / "results", "--calibrate", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["estimate"]["wall"] > 0
    assert found["estimate"]["measured"]
    assert not any(stage["finished"] for stage in found["stages"].values())
    again = bench("plan", suite, "--results", tmp_path / "results")
    assert "about" in again.stdout
    assert list((tmp_path / "results/store/.calibration").glob("work-*")) == []
