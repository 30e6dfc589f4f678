"""Stages on a Ray cluster of two nodes on loopback: what every executor keeps, the bits of one machine, lost nodes."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Failed, Made, Progressed, Resources
from gatebench.bench.executors.local import EXECUTOR as LOCAL
from gatebench.bench.executors.loop import execute
from gatebench.bench.executors.ray import EXECUTOR, RayExecutor, Seat
from gatebench.bench.executors.ray_cluster import connected, divided_cluster, room
from gatebench.bench.executors.registry import get_executor
from gatebench.bench.plan.graph import Plan
from gatebench.bench.store.store import Store
from tests.conformance.executor import ExecutorConformance, node, run_of
from tests.helpers import DPO, GATED_DPO, bench, free_port, run_folder, start_bench, summary_of, wait_for, write
from tests.needs import SHARED
from tests.ray_nodes import is_stage, two_nodes

MEMORY = 1_500_000_000  # bytes a worker
# Anthropic-HH as in suites/hh_tiny.yaml, one seed, of few pairs and steps
HH_TINY = ("hh_tiny", "--profile", "one_seed", "--only", "model=neox-0.3m,objective=dpo,gate=none|seq")
SHORT = ("train.steps=8", "train.evaluate_every=4", "base.tokens=8192", "warmup.pairs=16", "warmup.epochs=1",
         "evaluate.dynamics.probes=40")  # fmt: skip


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as found:
        yield found


@pytest.fixture
def on_ray(nodes):
    return ("--executor", "ray", "--address", nodes.address)


class Other:
    """An actor of somebody else's."""

    def is_there(self):
        return True


def metrics(run):
    return {cell["id"]: cell["metrics"] for cell in summary_of(run)["cells"]}


def stages(folder, what):
    """Kinds of the stages that a run has started or finished so far."""
    lines = [line for log in (folder / "results/runs").rglob("log.jsonl") for line in log.read_text().splitlines()]
    return [event["kind"] for event in map(json.loads, lines) if event["what"] == what]


def test_without_ray_it_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; pip install 'gatebench\[ray\]'"):
        room(None, 1, MEMORY)


def test_a_worker_a_gpu_or_what_cores_and_memory_hold():
    small, large = {"CPU": 4.0, "memory": 4e9}, {"CPU": 64.0, "memory": 8e9}
    assert divided_cluster([small, large], 2, 2 * 10**9) == (6, 2, 0)  # 2 by cores, 4 by memory
    assert divided_cluster([small], 8, 10**9) == (1, 4, 0)
    assert divided_cluster([small, {"CPU": 16.0, "GPU": 4.0, "memory": 1e9}], 1, 10**12) == (4, 4, 4)


def test_a_worker_holds_what_the_widest_stage_takes():
    nodes = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 8.0, "memory": 8e9}]
    assert divided_cluster(nodes, 1, 10**9, width=2) == (2, 4, 4)
    assert divided_cluster(nodes[2:], 2, 10**9, width=2) == (2, 2, 0)
    with pytest.raises(UserError, match="wants 8 GPUs at once, which no node"):
        divided_cluster(nodes, 1, 10**9, width=8)


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

    def test_a_failure_is_recorded_as_it_is_here(self, run_plan, tmp_path):
        failing = (node("a", does="raise"), node("b", does="refuse"))
        there = run_plan(*failing, workers=1)[0].failed
        here = LOCAL.make(Resources(1, 1, 0, tmp_path / "here"), run_of)
        store = Store(tmp_path / "store-here")
        try:
            outcome = execute(Plan("p", (), {n.key: n for n in failing}), store, here, lambda event: None)
        finally:
            here.close()
        assert set(there) == {"a", "b"}
        assert there["a"].tail.endswith("ValueError: a broke")
        assert there == outcome.failed

    def test_a_stage_goes_to_the_node_that_made_what_it_reads(self, make, tmp_path):
        executor = make(2)
        try:
            while any(worker.at is None for worker in executor.workers):
                executor.has_room()
            for turn in range(2):
                self.start(executor, node(f"a{turn}", does="tick"), tmp_path)
            made = {}
            while len(made) < 2:
                made.update({told.node.key: told.place for told in executor.results() if isinstance(told, Made)})
            assert len(set(executor.made_at.values())) == 2
            for key, place in made.items():
                target = tmp_path / "partial" / f"b-{key}"
                target.mkdir()
                executor.start(node(f"b-{key}", key), target, {"i0": place})
            for worker in executor.workers:
                assert worker.at == executor.made_at[worker.work.node.key.removeprefix("b-")]
        finally:
            executor.close()


@pytest.mark.slow
@pytest.mark.ray
class TestCluster:
    def test_an_address_at_which_nobody_answers_is_one_sentence_at_once(self, tmp_path):
        started = time.monotonic()
        address = f"127.0.0.1:{free_port()}"
        done = bench("run", write(tmp_path, DPO), "--results", tmp_path / "results", "--executor", "ray",
                     "--address", address)  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith(f"--address {address}: nobody answers there (")
        assert len(done.stderr.splitlines()) == 1
        assert time.monotonic() - started < 60

    def test_an_address_that_is_none_is_one_sentence(self):
        with pytest.raises(UserError, match=r"ray://head:10001: expected HOST:PORT of the cluster's head node"):
            room("ray://head:10001", 1, MEMORY)

    def test_another_ray_on_the_cluster_is_one_sentence(self, nodes, monkeypatch):
        import ray

        own = ray.__version__
        monkeypatch.setattr(ray, "__version__", "2.0.0")
        with pytest.raises(UserError, match=rf"the cluster has Ray {own} and Python [\d.]+, this machine Ray 2\.0\.0"):
            room(nodes.address, 1, MEMORY)

    def test_a_node_without_what_a_worker_needs_ends_the_run_with_a_sentence(self, nodes, tmp_path, monkeypatch):
        monkeypatch.setattr(Seat, "__module__", "gatebench.bench.executors.not_there")
        monkeypatch.setitem(sys.modules, "gatebench.bench.executors.not_there", sys.modules[RayExecutor.__module__])
        with pytest.raises(UserError, match=r"4 workers were lost before they could begin: .+; what they need"):
            RayExecutor(Resources(1, 1, 0, tmp_path / "logs", MEMORY, nodes.address), run_of)
        wait_for(lambda: not nodes.workers(), "end of the actors", seconds=30)

    def test_a_cluster_that_is_busy_is_waited_for_and_told(self, nodes, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("gatebench.bench.executors.ray.IN_SILENCE", 1.0)
        monkeypatch.setattr("gatebench.bench.executors.ray.FIRST_WORKER", 5.0)
        ray = connected(nodes.address)
        others = [ray.remote(Other).options(num_cpus=1).remote() for _ in range(2)]
        ray.get([other.is_there.remote() for other in others])
        with pytest.raises(UserError, match="no worker has started within 5 s; `ray status` says"):
            RayExecutor(Resources(1, 1, 0, tmp_path / "logs", MEMORY, nodes.address), run_of)
        assert capsys.readouterr().err.count("waiting for a first worker of the cluster") == 1

    def test_its_room_is_what_its_nodes_hold(self, nodes):
        assert room(nodes.address, 1, MEMORY) == (2, 1, 0)
        assert room(nodes.address, 8, MEMORY) == (2, 1, 0)  # no node has more than one core
        with pytest.raises(UserError, match=r"none of the cluster's 2 nodes has 1 CPUs and 1000\.0 GB"):
            room(nodes.address, 1, 10**12)

    def test_metrics_are_bitwise_those_of_one_machine(self, good_run, on_ray, tmp_path, nodes):
        done = bench("run", write(tmp_path, DPO), "--results", tmp_path / "results", *on_ray)
        assert done.returncode == 0, done.stderr
        assert "2 workers" in done.stderr
        here, there = metrics(run_folder(good_run.folder)), metrics(run_folder(tmp_path))
        assert len(there) == 2
        assert there == {cell: here[cell] for cell in there}
        assert len(list((tmp_path / "results/runs").rglob("ray-*/worker-0.log"))) == 2
        assert not nodes.workers()

    @pytest.mark.hh
    def test_a_node_lost_midway_costs_time_alone(self, on_ray, tmp_path, nodes):
        """On real pairs: the bits are those of one machine, and nothing that had finished is run again."""
        short = [word for setting in SHORT for word in ("--set", setting)]
        command = ("run", *HH_TINY, *short, "--data", SHARED / "data", "--results")
        here = bench(*command, tmp_path / "here")
        assert here.returncode == 0, here.stderr
        process = start_bench(*command, tmp_path / "results", *on_ray)
        wait_for(lambda: stages(tmp_path, "started").count("train") == 2, "training on each of the nodes")
        nodes.lose()
        try:
            _, said = process.communicate(timeout=500)
            assert process.returncode == 0, said
        finally:
            nodes.join(f"--address={nodes.address}", "--node-ip-address=127.0.0.1")
        (ours,), (theirs,) = ((tmp_path / name / "runs/hh_tiny").iterdir() for name in ("here", "results"))
        assert len(metrics(ours)) == 2
        assert metrics(theirs) == metrics(ours)
        made = [manifest.parents[1].name for manifest in (tmp_path / "results/store").glob("*/*/manifest.json")]
        assert sorted(stages(tmp_path, "started")) == sorted(stages(tmp_path, "finished")) == sorted(made)
        assert not list((tmp_path / "results/store/.partial").glob("*"))

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
    def test_stopped_or_killed_it_leaves_no_actor(self, on_ray, tmp_path, nodes, number, code):
        process = start_bench("run", write(tmp_path, GATED_DPO), "--results", tmp_path / "results", *on_ray)
        wait_for(lambda: any(map(is_stage, nodes.workers())), "stage")
        wait_for(lambda: list((tmp_path / "results/store/.partial").glob("*")), "stage that is made")
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        assert process.returncode == code, said
        assert ("stopped; finished stages are kept" in said) == (number == signal.SIGINT)
        assert "Traceback" not in said
        wait_for(lambda: not nodes.workers(), "end of the actors", seconds=60)

    def test_stopped_it_leaves_nothing_of_a_cluster_of_its_own(self, tmp_path):
        process = start_bench("run", write(tmp_path, GATED_DPO), "--results", tmp_path / "results", "--executor", "ray",
                              "--address", "local", stdout=subprocess.PIPE)  # fmt: skip
        own = psutil.Process(process.pid)
        wait_for(lambda: list((tmp_path / "results/store/.partial").glob("*")), "stage that is made")
        below = own.children(recursive=True)
        assert any(child.name() == "raylet" for child in below)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130, said
        wait_for(lambda: not any(child.is_running() for child in below), "end of the cluster", seconds=60)

    def test_a_stage_whose_workers_are_lost_again_and_again_fails(self, nodes, tmp_path):
        """Only so often, and into a new folder each time."""
        executor = RayExecutor(Resources(1, 1, 0, tmp_path / "logs", MEMORY, nodes.address), run_of)
        told, places = [], []
        (tmp_path / "partial" / "a~1").mkdir(parents=True)
        (tmp_path / "partial" / "a~1" / "left").touch()  # by a run that was killed
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
        assert lost == ["its worker was lost, so it is begun again on another"] * 3

    def test_a_training_of_two_processes_has_there_the_bits_of_one_machine(self, tmp_path):
        model = "{path: builtin:ladder/neox-0.3m, devices: 2}"
        suite = write(tmp_path, GATED_DPO.replace("builtin:ladder/neox-0.3m", model))
        found = []
        for name, more in (("here", ()), ("there", ("--executor", "ray", "--address", "local"))):
            done = bench("run", suite, "--results", tmp_path / name / "results", *more)
            assert done.returncode == 0, done.stderr
            found.append(metrics(run_folder(tmp_path / name)))
        assert len(found[0]) == 1
        assert found[0] == found[1]

    def test_trials_of_a_search_run_there(self, on_ray, tmp_path):
        suite = DPO.replace("steps: 4", "steps: 20").replace("probes: 6", "probes: 12")
        suite = suite.replace("evaluate_every: 2", "evaluate_every: 20") + (
            f"tune: {{trials: 3, storage: 'journal:{tmp_path}/journal', subject_to: {{accuracy: '>= 0.2'}}}}\n"
        )
        done = bench("tune", write(tmp_path, suite), "--results", tmp_path / "results", "--json", *on_ray)
        assert done.returncode == 0, done.stderr
        (study,) = json.loads(done.stdout)["studies"]
        assert study["counts"]["complete"] + study["counts"]["pruned"] == 3
