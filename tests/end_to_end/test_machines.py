"""Two machines on one store, behind a URL or in a folder that both mount: each stage once, whoever is killed when."""

import collections
import hashlib
import json
import os
import random
import signal
import time

import pytest

from tests.helpers import DPO, GOOD, manifests, start_bench, summary_of, wait_for, write
from tests.s3_server import BUCKET
from tests.trust.tally import LONG, count, some

pytestmark = [pytest.mark.slow, pytest.mark.s3]
KILLS = some(1, 20)
SUITE = GOOD.replace("seeds: [0]", "seeds: [0, 1, 2]") if LONG else DPO
STAGES = 43 if LONG else 8
LAST_KILL = 0.8  # of the stages, so that the last kill still hits a run that has work left
WORKERS = 2 if LONG else 1


class Machines:
    """Two, each with a home of its own, that run one suite on one store."""

    def __init__(self, folder, url, environment):
        self.suite, self.url, self.environment = write(folder, SUITE), url, environment
        self.homes = [folder / name for name in ("one", "two")]

    def start(self, number):
        home = self.homes[number]
        return start_bench(
            "run", self.suite, "--results", self.url, "--workers", WORKERS, GATEBENCH_CACHE=str(home),
            MLFLOW_TRACKING_URI=f"sqlite:///{home}.db", **self.environment,
        )  # fmt: skip

    def results(self):
        """The folders that their runs wrote to."""
        shared = [self.homes[0].parent / "shared"]
        return [place for home in self.homes if home.exists() for place in home.iterdir()] or shared

    def times_finished(self):
        logs = {log for results in self.results() for log in (results / "runs").rglob("log.jsonl")}
        events = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        return collections.Counter((e["kind"], e["key"]) for e in events if e["what"] == "finished")

    def metrics(self):
        """Of both machines' summaries: cell -> metrics."""
        found = [summary_of(run.parent) for results in self.results() for run in results.glob("runs/*/*/summary.json")]
        return [{cell["id"]: cell["metrics"] for cell in summary["cells"]} for summary in found]


def published(system, root):
    """The stages behind a URL, after a look at every file that they name."""
    found = set()
    for path in system.find(f"{root}/stages"):
        index = json.loads(system.cat_file(path))
        assert index["left"] == []
        for file in index["manifest"]["files"].values():
            content = system.cat_file(f"{root}/files/{file['sha256']}")
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
        found.add(tuple(path.removesuffix(".json").split("/")[-2:]))
    return found


def killed_and_run_to_the_end(machines, kills):
    """SIGKILL to the whole group of one of the two again and again, then both to their end; what they said."""
    rng = random.Random(7)
    both = [machines.start(number) for number in range(2)]
    for kill in range(kills):
        most = max(1, LAST_KILL * STAGES * kill / kills)
        wait_for(lambda most=most: len(machines.times_finished()) >= most, "progress", 900)
        time.sleep(rng.uniform(0, 4))
        victim = rng.randrange(2)
        os.killpg(both[victim].pid, signal.SIGKILL)
        both[victim].communicate()
        both[victim] = machines.start(victim)
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    return said


@pytest.mark.timeout(3600 if LONG else 600)
@pytest.mark.parametrize("place", ["s3", "folder"])
def test_two_machines_share_the_work_and_one_is_killed(s3_server, good_run, tmp_path, place):
    root = f"{BUCKET}/{place}-{os.getpid()}"
    url = f"s3://{root}" if place == "s3" else f"file://{tmp_path / 'shared'}"
    machines = Machines(tmp_path, url, s3_server.environment)
    said = killed_and_run_to_the_end(machines, KILLS)
    counts = machines.times_finished()
    if place == "s3":
        stages = published(s3_server.system(), root)
        assert not [path for path in s3_server.system().find(f"{root}/leases") if not path.endswith("/leases")]
    else:
        store = tmp_path / "shared/store"
        stages = {path.parts[-3:-1] for path in store.glob("*/*/manifest.json")}
        assert not [file for file in (store / ".leases").rglob("*") if file.is_file()]
        assert not list((store / ".partial").iterdir())
    found = machines.metrics()
    alone = {cell["id"]: cell["metrics"] for cell in summary_of(good_run.run)["cells"]}  # of the same keys
    wrong = any(one[cell] != metrics for one in found for cell, metrics in alone.items() if cell in one)
    lost = {path.parts[-3:-1] for path in manifests(good_run.folder / "results")} - stages if LONG else ()
    print(f"{place}: {KILLS} kills, {len(stages)} stages, finished {collections.Counter(counts.values())} times")
    count(f"kills of machines that share a {place}", KILLS, lost=len(lost), wrong=wrong)
    assert len(stages) == STAGES
    assert not lost
    assert not wrong, said
    assert all(one == found[0] for one in found)
    assert len(found) == (2 if place == "s3" else 1)
    # a kill between a stage's commit and its line in the log leaves the line out, so: at most once
    assert set(counts.values()) == {1}
    ran = [int(text.split(" stages run")[0].splitlines()[-1]) for text in said]
    assert KILLS or sum(ran) == len(stages)
