"""Stages on a Ray cluster of two nodes on loopback: what every executor keeps, the bits of one machine, lost nodes."""

import json
import signal
import sys
import time

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Failed, Progressed, Resources
from gatebench.bench.executors.ray import EXECUTOR, RayExecutor, room
from gatebench.bench.executors.registry import get_executor
from tests.conformance.executor import ExecutorConformance, node, run_of
from tests.helpers import DPO, bench, run_folder, start_bench, summary_of, wait_for, write
from tests.needs import SHARED
from tests.ray_nodes import is_stage, two_nodes

MEMORY = 1_500_000_000  # bytes a worker
OVERHEAD, STAGES = 0.5, 20  # seconds a stage at most, over so many
# Anthropic-HH as in suites/hh_tiny.yaml, one seed, of few pairs and steps
HH_TINY = ("hh_tiny", "--profile", "one_seed", "--only", "model=neox-0.3m,objective=dpo,gate=none|seq")
SHORT = ("train.steps=8", "train.evaluate_every=4", "base.tokens=8192", "warmup.pairs=16", "warmup.epochs=1",
         "evaluate.dynamics.probes=8")  # fmt: skip


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as found:
        yield found


@pytest.fixture
def on_ray(nodes):
    return ("--executor", "ray", "--address", nodes.address)


def metrics(folder):
    return {cell["id"]: cell["metrics"] for cell in summary_of(run_folder(folder))["cells"]}


def finished(folder):
    """Kinds of the stages that a run has finished so far."""
    lines = [line for log in (folder / "results/runs").rglob("log.jsonl") for line in log.read_text().splitlines()]
    return [event["kind"] for event in map(json.loads, lines) if event["what"] == "finished"]


def test_without_ray_it_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; pip install 'gatebench\[ray\]'"):
        room(None, 1, MEMORY)


def test_an_address_is_for_an_executor_that_has_a_cluster():
    with pytest.raises(UserError, match=r"--address 10\.0\.0\.1:6379: executor local runs on this machine alone"):
        get_executor("local", "10.0.0.1:6379")


@pytest.mark.slow
@pytest.mark.ray
class TestRay(ExecutorConformance):
    @pytest.fixture
    def kind(self):
        return EXECUTOR

    @pytest.fixture
    def make(self, nodes, tmp_path):
        return lambda workers: EXECUTOR.make(Resources(workers, 1, 0, tmp_path / "logs", MEMORY, nodes.address), run_of)

    def test_a_killed_process_costs_its_stage_as_it_does_here(self, make, nodes, tmp_path):
        executor, told = make(1), []
        try:
            self.start(executor, node("a", does="tick"), tmp_path)
            while not told:
                told += executor.results()  # it is at work
            for stage in filter(is_stage, nodes.workers()):
                stage.kill()
            while not isinstance(told[-1], Failed):
                told += executor.results()
        finally:
            executor.close()
        assert told[-1].failure.message.startswith("its process was killed (exit code -9")

    def test_the_overhead_of_a_stage_is_small(self, run_plan, tmp_path, capsys):
        chain = [node("0"), *(node(str(n), str(n - 1)) for n in range(1, STAGES))]
        started = time.monotonic()
        run_plan(node("first"), workers=1)
        before = time.monotonic() - started
        started = time.monotonic()
        run_plan(*chain, workers=1)
        here = (time.monotonic() - started - before) / STAGES
        with capsys.disabled():
            print(f"Ray: {before:.1f} s for a first worker and its end, {1000 * here:.0f} ms a stage of {STAGES}")
        assert here < OVERHEAD


@pytest.mark.slow
@pytest.mark.ray
class TestCluster:
    def test_its_room_is_what_its_nodes_hold(self, nodes):
        assert room(nodes.address, 1, MEMORY) == (2, 1, 0)
        assert room(nodes.address, 8, MEMORY) == (2, 1, 0)  # no node has more than one core
        with pytest.raises(UserError, match=r"none of the cluster's 2 nodes has 1 CPUs and 1000\.0 GB"):
            room(nodes.address, 1, 10**12)

    def test_metrics_are_bitwise_those_of_one_machine(self, good_run, on_ray, tmp_path, nodes):
        suite = write(tmp_path, (good_run.folder / "suite.yaml").read_text())
        done = bench("run", suite, "--results", tmp_path / "results", *on_ray)
        assert done.returncode == 0, done.stderr
        assert "2 workers" in done.stderr
        assert metrics(tmp_path) == metrics(good_run.folder)
        assert len(list((tmp_path / "results/runs").rglob("ray-*/worker-0.log"))) == 2
        assert not nodes.workers()

    @pytest.mark.hh
    def test_real_pairs_come_to_the_same_bits(self, on_ray, tmp_path):
        short = [word for setting in SHORT for word in ("--set", setting)]
        found = []
        for place, where in (("here", ()), ("there", on_ray)):
            results = tmp_path / place / "results"
            done = bench("run", *HH_TINY, *short, "--data", SHARED / "data", "--results", results, *where)
            assert done.returncode == 0, done.stderr
            (run,) = (results / "runs/hh_tiny").iterdir()
            found.append({cell["id"]: cell["metrics"] for cell in summary_of(run)["cells"]})
        assert len(found[0]) == 2
        assert found[0] == found[1]

    def test_stopped_it_leaves_no_actor(self, on_ray, tmp_path, nodes):
        process = start_bench("run", write(tmp_path, DPO), "--results", tmp_path / "results", *on_ray)
        wait_for(lambda: any(map(is_stage, nodes.workers())), "stage")
        wait_for(lambda: list((tmp_path / "results/store/.partial").glob("*")), "stage that is made")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130, said
        assert "stopped; finished stages are kept" in said
        assert "Traceback" not in said
        wait_for(lambda: not nodes.workers(), "end of the actors", seconds=30)

    def test_a_node_lost_midway_costs_time_alone(self, good_run, on_ray, tmp_path, nodes):
        suite = write(tmp_path, (good_run.folder / "suite.yaml").read_text())
        process = start_bench("run", suite, "--results", tmp_path / "results", *on_ray)
        wait_for(lambda: "warmup" in finished(tmp_path), "warm-up")
        wait_for(lambda: any(map(is_stage, nodes.nodes[-1].children(recursive=True))), "stage on the second node")
        nodes.lose()
        try:
            _, said = process.communicate(timeout=500)
            assert process.returncode == 0, said
            assert metrics(tmp_path) == metrics(good_run.folder)
            assert not list((tmp_path / "results/store/.partial").glob("*"))
        finally:
            nodes.join(f"--address={nodes.address}", "--node-ip-address=127.0.0.1")

    def test_a_stage_whose_nodes_are_lost_again_and_again_fails(self, nodes, tmp_path):
        """Only so often, and into a new folder each time."""
        executor = RayExecutor(Resources(1, 1, 0, tmp_path / "logs", MEMORY, nodes.address), run_of)
        told, places = [], []
        try:
            place = TestRay.start(executor, node("a", does="tick"), tmp_path)
            (place / "trainer").mkdir()  # what a training can go on from
            while not told or not isinstance(told[-1], Failed):
                for worker in executor.workers:
                    if worker.work and worker.work.place not in places:
                        places.append(worker.work.place)
                        executor.ray.kill(worker.actor)
                told += executor.results()
        finally:
            executor.close()
        assert [place.name for place in places] == ["a", "a~1", "a~2", "a~3"]
        assert [place.is_dir() for place in places] == [False, False, False, True]
        assert (places[-1] / "trainer").is_dir()
        assert told[-1].failure.message.startswith("its worker was lost 4 times")
        lost = [one.text for one in told[:-1] if isinstance(one, Progressed) and "lost" in one.text]
        assert lost == ["its node was lost, so it is begun again on another"] * 3

    def test_trials_of_a_search_run_there(self, on_ray, tmp_path):
        suite = DPO.replace("steps: 4", "steps: 20").replace("probes: 6", "probes: 12")
        suite = suite.replace("evaluate_every: 2", "evaluate_every: 20") + (
            f"tune: {{trials: 3, storage: 'journal:{tmp_path}/journal', subject_to: {{accuracy: '>= 0.2'}}}}\n"
        )
        done = bench("tune", write(tmp_path, suite), "--results", tmp_path / "results", "--json", *on_ray)
        assert done.returncode == 0, done.stderr
        (study,) = json.loads(done.stdout)["studies"]
        assert study["counts"]["complete"] + study["counts"]["pruned"] == 3
