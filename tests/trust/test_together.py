"""Several commands on one results folder at once: nothing is lost, doubled or deleted under another."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest

from gatebench.bench.run import suite_run
from gatebench.bench.store.store import Store
from tests.helpers import bench, manifests, run_folder, start_bench, summary_of, wait_for, write
from tests.trust.made import SUITE, copied, figures, prepared
from tests.trust.tally import count, some

pytestmark = pytest.mark.slow
RUNS = some(2, 4)


def mlflow_runs(results):
    """(name, whether it is a parent) of every run that is not deleted."""
    query = (
        "SELECT r.name, t.value IS NULL FROM runs r LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND "
        "t.key = 'mlflow.parentRunId' WHERE r.lifecycle_stage = 'active'"
    )
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def has_runs(results):
    try:
        return bool(mlflow_runs(results))
    except sqlite3.OperationalError:  # not there yet, or without tables
        return False


def test_runs_reports_and_gc_at_once(finished, tmp_path):
    """Runs of one suite from nothing, with gc --delete of a suite that needs less and reports beside them."""
    suite, results = write(tmp_path, SUITE), tmp_path / "results"
    fewer = write(tmp_path, SUITE.replace("seeds: [0, 1]", "seeds: [0]"), "fewer.yaml")
    runs = [start_bench("run", suite, "--results", results, MLFLOW_TRACKING_URI="") for _ in range(RUNS)]
    said, beside = [], {"gc": 0, "report": 0}
    while any(run.poll() is None for run in runs):
        for what, command in (("gc", ("gc", fewer, "--delete")), ("report", ("report", suite))):
            if what == "report" or results.exists():
                done = bench(*command, "--results", results, MLFLOW_TRACKING_URI="")
                said.append(done.stderr)
                beside[what] += 1
                assert done.returncode == 0 or "is using this store" in done.stderr, done.stderr
    said += [run.communicate()[1] for run in runs]
    tracebacks = sum("Traceback" in text for text in said)
    codes = [run.returncode for run in runs]
    wrong = codes == [0] * RUNS and figures(tmp_path) != figures(finished)
    told = mlflow_runs(results)
    parents, cells = ([name for name, is_parent in told if bool(is_parent) is wanted] for wanted in (True, False))
    lost = sum(code != 0 for code in codes) + 4 - len(set(cells))
    count("runs of one suite at once, gc and report beside them", RUNS + sum(beside.values()), tracebacks, lost=lost,
          wrong=wrong or len(parents) != 1 or len(cells) != 4)  # fmt: skip
    assert codes == [0] * RUNS, said
    assert not tracebacks, said
    assert not wrong
    assert beside["gc"] > 1
    assert len(parents) == 1
    assert sorted(cells) == sorted(cell["id"] for cell in summary_of(run_folder(tmp_path))["cells"])
    assert not list(run_folder(tmp_path).glob("spool/*.json"))


def test_a_report_that_read_an_unfinished_store_does_not_overwrite_the_finished_run(finished, tmp_path, monkeypatch):
    copied(finished, tmp_path)
    ready, read, written = prepared(tmp_path), threading.Event(), threading.Event()
    dynamics = ready.store.root / "dynamics"
    dynamics.rename(tmp_path / "not yet")
    results_of = suite_run.results_of

    def reads(*given):
        found = results_of(*given)
        if threading.current_thread() is early:
            read.set()
            written.wait(3)
        return found

    monkeypatch.setattr(suite_run, "results_of", reads)
    early = threading.Thread(target=lambda: suite_run.build(ready))
    early.start()
    assert read.wait(60)
    (tmp_path / "not yet").rename(dynamics)
    suite_run.build(prepared(tmp_path))
    written.set()
    early.join()
    assert figures(tmp_path) == figures(finished)


def test_gc_deletes_nothing_under_a_run_that_holds_no_lock_of_a_stage(finished, tmp_path):
    """As one that is summarising, or tuning between two trials."""
    results = copied(finished, tmp_path)
    nothing = write(tmp_path, SUITE.replace("train: 24", "train: 23"), "other.yaml")
    before = len(manifests(results))
    with Store(results / "store").in_use():
        refused = bench("gc", nothing, "--results", results, "--delete")
        assert refused.returncode == 2
        assert (
            refused.stderr == f"{results / 'store'}: a run or report is using this store; wait for its end or stop it\n"
        )
        assert len(manifests(results)) == before
    assert bench("gc", nothing, "--results", results, "--delete").returncode == 0
    assert not manifests(results)


@pytest.fixture
def own_disk(tmp_path):
    """A folder on a file system of its own, that can be made read-only for root as well."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs rights that this process does not have")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("command", ["report", "ui", "tune", "run", "plan", "compare", "samples"])
def test_a_folder_that_cannot_be_written_to_is_told_or_does_not_matter(finished, own_disk, command):
    results = copied(finished, own_disk)
    (own_disk / "suite.yaml").write_text(SUITE + "tune: {trials: 2, maximize: delta_chosen}\n")
    folder = run_folder(own_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(own_disk)], check=True)
    given = {"compare": (folder, folder), "samples": (own_disk / "suite.yaml", 0)}.get(
        command, (own_disk / "suite.yaml",)
    )
    done = bench(command, *given, "--results", results, MLFLOW_TRACKING_URI="")
    tracebacks = "Traceback" in done.stderr
    count("read-only results", tracebacks=tracebacks)
    assert not tracebacks, done.stderr
    if command in ("plan", "compare", "samples"):
        assert done.returncode == 0, done.stderr
    elif command in ("report", "ui", "tune"):
        assert done.returncode in (1, 2)
        said = "unable to open database file" if command == "tune" else "Read-only file system"
        assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("what", ["store", "runs", "store/.partial", "mlflow.db", "."])
def test_what_is_removed_under_a_run_ends_it_in_a_sentence_or_not_at_all(tmp_path, what):
    suite, results = write(tmp_path, SUITE), tmp_path / "results"
    process = start_bench("run", suite, "--results", results, MLFLOW_TRACKING_URI="")
    wait_for(lambda: manifests(results, "warmup"), "finished stage")
    if what == "mlflow.db":
        wait_for(lambda: has_runs(results), "run in MLflow")
    place = results / what
    place.unlink(missing_ok=True) if place.is_file() else shutil.rmtree(place, ignore_errors=True)
    said = process.communicate(timeout=300)[1]
    count("folders removed under a run", tracebacks="Traceback" in said)
    assert "Traceback" not in said, said
    again = bench("run", suite, "--results", results, MLFLOW_TRACKING_URI="")
    assert again.returncode == 0, again.stderr
    assert {cell["status"] for cell in summary_of(run_folder(tmp_path))["cells"]} == {"finished"}


def test_a_suite_is_killed_while_it_summarises_and_tells_all_the_same(finished, tmp_path):
    results = copied(finished, tmp_path)
    shutil.rmtree(results / "runs")
    (results / "mlflow.db").unlink()
    for pause in (0.8, 1.6, 2.4):
        process = start_bench("run", tmp_path / "suite.yaml", "--results", results, MLFLOW_TRACKING_URI="")
        time.sleep(pause)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    done = bench("run", tmp_path / "suite.yaml", "--results", results, MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path) == figures(finished)
    assert len(mlflow_runs(results)) == 5
    assert json.loads((prepared(tmp_path).folder / "built.json").read_bytes())["code"]
    count("kills while summarising", 3)
