"""Anything can be killed at any moment: kills, concurrent runs, damaged files, full disks."""

import collections
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from gatebench.bench.errors import is_disk_full
from gatebench.bench.tracking.entries import Entry
from gatebench.bench.tracking.spool import Spool
from tests.helpers import DPO, GOOD, bench, manifests, run_folder, start_bench, summary_of, wait_for, write
from tests.trust.tally import count, some

pytestmark = pytest.mark.slow
SEEDS = some(2, 4)
# 8 or 16 cells of real stages, as short as they can be
MANY = GOOD.replace("seeds: [0]", f"seeds: {list(range(SEEDS))}").replace("steps: 4", "steps: 6").replace(
    "evaluate_every: 2", "evaluate_every: 3"
)  # fmt: skip
KILLS = some(4, 50)
SECONDS_AFTER = 3.0  # the beginning of a run, or a stage that it finished
LAST_KILL = 0.8  # of the stages, so that the last kill still hits a run that has work left


def start(suite, results):
    """`bench run` that tracks into its own results."""
    return start_bench("run", suite, "--results", results, MLFLOW_TRACKING_URI=f"sqlite:///{results}/mlflow.db")


def metrics(results):
    summary = summary_of(run_folder(results.parent))
    assert [cell["status"] for cell in summary["cells"]] == ["finished"] * len(summary["cells"])
    return {cell["id"]: cell["metrics"] for cell in summary["cells"]}


def events(results):
    """What the logs of all runs say, in order."""
    lines = [line for log in (results / "runs").rglob("log.jsonl") for line in log.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def times_finished(results):
    """How often each stage was finished, by the logs of all runs."""
    return collections.Counter((e["kind"], e["key"]) for e in events(results) if e["what"] == "finished")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = bench("run", write(folder, MANY), "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder


def test_killed_at_random_moments_it_ends_with_the_same_bits(uninterrupted, tmp_path):
    """SIGKILL to the whole group again and again, then one run to the end (more in `make test-long`)."""
    suite, results = write(tmp_path, MANY), tmp_path / "results"
    rng = random.Random(5)
    made = [0]
    stages = len(times_finished(uninterrupted / "results"))
    for kill in range(KILLS):
        process = start(suite, results)
        # where enough is finished already, it is killed while it starts
        while len(manifests(results)) < LAST_KILL * stages * kill / KILLS and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, SECONDS_AFTER))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        made.append(len(manifests(results)))
    print(f"finished stages after each of {KILLS} kills: {made}")
    done = bench("run", suite, "--results", results)
    assert done.returncode == 0, done.stderr
    wrong = metrics(results) != metrics(uninterrupted / "results")
    count("kills of a run", KILLS, lost=max(times_finished(results).values()) > 1, wrong=wrong)
    assert not wrong
    # a kill between a stage's commit and its line in the log leaves the line out, so: at most once
    counts = times_finished(results)
    assert set(counts.values()) == {1}
    assert made[-1] >= LAST_KILL * stages * (KILLS - 1) / KILLS  # the kills were spread over the whole suite
    bench("gc", suite, "--results", results, "--delete")
    for hidden in (".partial", ".locks", ".damaged"):
        assert list((results / "store").glob(f"{hidden}/*")) == []
    assert "0 stages run" in bench("run", suite, "--results", results).stderr


def test_two_runs_at_once_share_the_work(uninterrupted, tmp_path):
    suite, results = write(tmp_path, MANY), tmp_path / "results"
    both = [start(suite, results) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert metrics(results) == metrics(uninterrupted / "results")
    counts = times_finished(results)
    assert set(counts.values()) == {1}
    assert len(counts) == len(manifests(results))
    ran = [int(text.split(" stages run")[0].splitlines()[-1]) for text in said]
    assert sum(ran) == len(counts)
    assert all(count > 0 for count in ran), ran


def test_a_flipped_byte_is_noticed_and_mended(uninterrupted, tmp_path):
    """In a file that a stage to be run reads, and in one that only the results are read from."""
    shutil.copytree(uninterrupted / "results/store", tmp_path / "results/store")
    suite, results = write(tmp_path, MANY), tmp_path / "results"
    weights = next((results / "store/warmup").glob("*/model/model.safetensors"))
    table = next((results / "store/dynamics").glob("*/curves.parquet"))
    for file in (weights, table):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    shutil.rmtree(next((results / "store/train").iterdir()))
    done = bench("run", suite, "--results", results)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("it is made again") == 2
    assert f"warmup {weights.parents[1].name}" in done.stderr
    assert metrics(results) == metrics(uninterrupted / "results")
    report = (run_folder(tmp_path) / "report.html").read_text()
    assert f"warmup {weights.parents[1].name}" in report
    assert "0 stages run" in bench("run", suite, "--results", results).stderr


def test_gc_shows_first_and_deletes_only_what_no_suite_needs(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted / "results/store", tmp_path / "results/store")
    results = tmp_path / "results"
    fewer = write(tmp_path, MANY.replace(f"{list(range(SEEDS))}", "[0]"))
    gone = SEEDS - 1  # seeds that it has not
    before = sorted(results.rglob("*"))
    shown = bench("gc", fewer, "--results", results)
    for kind, count_of_seed in (("train", 4), ("warmup", 2), ("dynamics", 6)):
        assert f"{kind}: {count_of_seed * gone}," in shown.stdout
    assert "nothing was: add --delete" in shown.stdout
    assert sorted(results.rglob("*")) == before
    assert f"{14 * gone} deleted" in bench("gc", fewer, "--results", results, "--delete").stdout
    assert "nothing to delete" in bench("gc", fewer, "--results", results).stdout
    plan = json.loads(bench("plan", fewer, "--results", results, "--json").stdout)
    assert all(stage["finished"] for stage in plan["stages"].values())


def test_why_names_the_changed_input(uninterrupted, tmp_path):
    results = uninterrupted / "results"
    suite = write(tmp_path, MANY.replace("alpha: 50", "alpha: 60"))
    cell = "neox-0.3m/toolbox/dpo/seq/0"
    said = bench("plan", suite, "--results", results, "--why", cell).stdout.splitlines()
    assert [line.split()[0] for line in said] == ["base", "warmup", "dynamics", "reference", "train", "dynamics"]
    assert "finished" in said[0]
    assert "differs in spec.gate.alpha 50.0 -> 60.0" in said[4]
    assert "differs in inputs.train" in said[5]
    unknown = bench("plan", suite, "--results", results, "--why", "neox-0.3m/toolbox/dpo/sec/0")
    assert unknown.returncode == 2
    assert f"did you mean '{cell}'?" in unknown.stderr


def test_a_dry_run_runs_nothing(tmp_path):
    done = bench("run", write(tmp_path, GOOD), "--results", tmp_path / "results", "--dry-run")
    assert done.returncode == 0
    assert "would run" in done.stdout
    assert not (tmp_path / "results").exists()


def test_interrupted_it_says_how_to_go_on_and_does(tmp_path):
    suite, results = write(tmp_path, DPO), tmp_path / "results"
    process = start(suite, results)
    wait_for(lambda: manifests(results, "base"), "finished stage")
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "To go on: bench run" in said
    assert "Traceback" not in said
    assert list((results / "store/.locks").iterdir()) == []
    assert bench("run", suite, "--results", results).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs rights that this process does not have")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # MLflow keeps its database open


def test_a_full_disk_ends_in_one_sentence_with_the_store_sound(small_disk, tmp_path):
    suite = write(tmp_path, DPO)
    (small_disk / "ballast").write_bytes(bytes(20_000_000))
    done = bench("run", suite, "--results", small_disk / "results")
    assert done.returncode == 1, done.stderr
    assert "the disk is full; every finished stage is kept" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    for manifest in manifests(small_disk / "results"):
        for name, wanted in json.loads(manifest.read_text())["files"].items():
            assert (manifest.parent / name).stat().st_size == wanted["bytes"]
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    (small_disk / "ballast").unlink()
    assert bench("run", suite, "--results", small_disk / "results").returncode == 0


def test_a_full_disk_under_mlflows_database_is_told_at_once(small_disk, tmp_path):
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    spool = Spool(tmp_path, f"sqlite:///{small_disk}/mlflow.db")
    spool.put(Entry("suite", ("run", "1"), "a cell", ("cell", "1"), "v", metrics=(("loss", 0.5, 1, 7),)))
    assert spool.close(100, print) == 1
    assert is_disk_full(spool.trouble)
    assert not (small_disk / "mlflow.db").exists()  # MLflow would try to make one for minutes
    (small_disk / "ballast").unlink()
    assert Spool(tmp_path, spool.uri).close(100, print) == 0


def test_sqlites_words_for_a_full_disk_are_known(small_disk):
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with (
        closing(sqlite3.connect(small_disk / "data.db")) as database,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        database.execute("CREATE TABLE runs (name TEXT)")
    assert is_disk_full(caught.value)
