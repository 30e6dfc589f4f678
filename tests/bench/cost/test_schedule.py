"""Plans by hand whose end is known, and what holds of every plan: between the bounds, by the turns of the real loop."""

import json
import time
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatebench.bench.cost.amounts import works_of
from gatebench.bench.cost.calibration import Record
from gatebench.bench.cost.estimate import lengths_of, order_to_start
from gatebench.bench.cost.schedule import best_order, critical_path, longest_first, schedule_of, simulate
from gatebench.bench.executors.api import Made
from gatebench.bench.executors.loop import execute
from gatebench.bench.perf import noop
from gatebench.bench.plan.graph import Cell, Node, Plan
from gatebench.bench.run import suite_run
from gatebench.bench.run.prepare import prepare
from gatebench.bench.stages.registry import MODULES
from gatebench.bench.stages.stage import Stage
from gatebench.bench.store.store import Store
from tests.helpers import DPO, bench, plan_of, write


@dataclass(frozen=True)
class Spec:
    name: str


STAGE = Stage("hand", 1, Spec, lambda *given: {}, lambda *given: None)


def node(key, *inputs):
    return Node("hand", Spec(key), tuple((f"i{n}", "hand", other) for n, other in enumerate(inputs)), key)


def cell(name, keys):
    return Cell(name, *[""] * 6, 0, {key: key for key in keys})


def plan_by_hand(cells):
    """A plan of cells, each a chain of keys; equal keys are shared."""
    links = [(key, chain[max(0, place - 1) : place]) for chain in cells.values() for place, key in enumerate(chain)]
    made = tuple(cell(name, chain) for name, chain in cells.items())
    return Plan("by hand", made, {key: node(key, *before) for key, before in links})


SHORT_FIRST = plan_by_hand({"a": ["a1", "a2"], "b": ["b1", "b2"], "c": ["c1", "c2"]})
SECONDS = {"a1": 3, "a2": 1, "b1": 3, "b2": 1, "c1": 7, "c2": 1}


def test_two_workers_by_hand():
    found = schedule_of(SHORT_FIRST, SECONDS, workers=2)
    assert found.suite_order == 12  # a1 and b1 until 3, a2 and b2 until 4, then c1 until 11 and c2 until 12
    assert found.wall == 8  # c1 until 7 beside a1, a2, b1; then c2 beside b2
    assert found.bound == 8
    assert found.utilisation(found.wall) == 1.0
    assert [(step.key, step.start, step.seconds) for step in found.critical] == [("c1", 0, 7), ("c2", 7, 1)]
    assert found.employable == 2


def test_one_worker_makes_one_cell_after_another():
    found = schedule_of(SHORT_FIRST, SECONDS, workers=1, startup=5)
    assert found.wall == found.suite_order == found.bound == 5 + sum(SECONDS.values())
    chosen, by_suite = best_order(SHORT_FIRST, SECONDS, 1)
    assert chosen is by_suite  # whatever is first, it ends at the same time: so the first cells are finished early


def test_with_a_worker_for_each_the_critical_path_is_what_it_takes():
    found = schedule_of(SHORT_FIRST, SECONDS, workers=9, startup=5)
    assert (found.wall, found.chain, found.bound) == (13, 8, 13)
    assert found.utilisation(found.wall) == pytest.approx(16 / (9 * 13))
    assert [step.start for step in found.critical] == [5, 12]


def test_a_longest_cell_has_all_it_rests_on_made_first_and_equal_ones_keep_their_order():
    plan = plan_by_hand({"a": ["s", "a"], "b": ["s", "b"], "c": ["t", "c"], "d": ["t", "d"]})
    lengths = {"s": 1, "a": 1, "b": 1, "t": 2, "c": 3, "d": 3}
    assert longest_first(plan, lengths) == ["t", "c", "d", "s", "a", "b"]
    assert longest_first(plan, {}) == list(plan.nodes)
    assert critical_path(plan.inputs, lengths) == ["t", "c"]


def test_finished_stages_take_nothing():
    found = schedule_of(SHORT_FIRST, {"a2": 1, "c2": 4}, workers=2, startup=5)
    assert found.wall == 9
    assert schedule_of(SHORT_FIRST, {}, workers=2, startup=5).wall == 0
    assert schedule_of(SHORT_FIRST, {}, workers=2).utilisation(0) == 1.0


@st.composite
def plans(draw):
    """Graphs of up to 30 stages in a random order of keys, cut into cells, with their seconds."""
    names = draw(st.permutations(range(draw(st.integers(1, 30)))))
    nodes, seconds = {}, {}
    for number, name in enumerate(names):
        earlier = st.sampled_from(names[:number])
        needed = draw(st.lists(earlier, max_size=3, unique=True)) if number else []
        nodes[f"k{name}"] = node(f"k{name}", *(f"k{other}" for other in needed))
        seconds[f"k{name}"] = draw(st.integers(0, 50))
    chosen = draw(st.lists(st.sampled_from(list(nodes)), unique=True))
    return Plan("any", tuple(cell(key, [key]) for key in chosen), nodes), seconds


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(plans(), st.integers(1, 8))
def test_no_plan_is_worse_than_serial_or_better_than_the_bounds(made, workers):
    plan, seconds = made
    found = schedule_of(plan, seconds, workers)
    work, chain = sum(seconds.values()), sum(seconds[key] for key in critical_path(plan.inputs, seconds))
    assert found.chain == chain
    assert max(chain, work / workers) <= found.wall <= found.suite_order <= work
    assert found.wall <= work / workers + chain  # Graham 1966, whatever the order
    assert sorted(longest_first(plan, seconds)) == sorted(plan.nodes)
    check_feasible(plan, seconds, best_order(plan, seconds, workers)[0], workers)


def check_feasible(plan, seconds, found, workers):
    """Every stage once, after its inputs, and never more at once than there are workers."""
    assert found.starts.keys() == plan.nodes.keys()
    for key, needed in plan.inputs.items():
        assert all(found.starts[other] + seconds[other] <= found.starts[key] for other in needed)
    for start in set(found.starts.values()):
        assert sum(found.starts[key] <= start < found.starts[key] + seconds[key] for key in plan.nodes) <= workers


class ByTheClock:
    """An executor whose stages take their seconds on a clock of its own, and write nothing but their folder."""

    def __init__(self, workers, seconds):
        self.workers, self.seconds, self.now, self.running = workers, seconds, 0.0, []
        self.started = {}

    def has_room(self):
        return len(self.running) < self.workers

    def start(self, node, place, inputs):
        self.started[node.key] = self.now
        self.running.append((self.now + self.seconds[node.key], len(self.started), node, place))

    def results(self):
        self.now, _, node, place = min(self.running, key=lambda one: one[:2])
        self.running = [one for one in self.running if one[2] is not node]
        yield Made(node, place, {"seconds": 0, "peak_memory": 0, "tokens": 0})

    def close(self):
        self.running = []


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_real_loop_starts_the_stages_when_the_simulation_says(tmp_path, monkeypatch, workers):
    monkeypatch.setitem(MODULES, "hand", __name__)
    chains = {f"c{n}": [f"s{n % 2}", *(f"{n}-{step}" for step in range(n % 3 + 1))] for n in range(8)}
    plan = plan_by_hand(chains)
    seconds = {key: 1 + 7 * number % 11 for number, key in enumerate(plan.nodes)}
    for order in (list(plan.nodes), longest_first(plan, seconds)):
        executor = ByTheClock(workers, seconds)
        store = Store(tmp_path / f"{order[0]}-{len(list(tmp_path.iterdir()))}")
        execute(plan, store, executor, lambda event: None, order=order)
        found = simulate(plan.inputs, seconds, order, workers)
        assert (executor.started, executor.now) == (found.starts, found.wall)
        assert list(executor.started) == list(found.starts)


def test_what_is_finished_already_is_passed_over_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(MODULES, "hand", __name__)
    store, seconds = Store(tmp_path), dict.fromkeys(["a", "b", "c", "x"], 5)
    plan = plan_by_hand({"first": ["x"], "second": ["a", "b", "c"]})
    execute(plan_by_hand({"some": ["a", "b"]}), store, ByTheClock(1, seconds), lambda event: None)
    executor = ByTheClock(2, seconds)
    outcome = execute(plan, store, executor, lambda event: None)
    assert executor.started == {"x": 0, "c": 0}
    assert (outcome.ran, outcome.cached) == ({"x", "c"}, {"a", "b"})


def test_ten_thousand_cells_take_seconds():
    plan = plan_by_hand({f"c{n}": [f"s{n % 100}", *(f"{n}-{step}" for step in range(4))] for n in range(10_000)})
    seconds = {key: 1 + number % 997 for number, key in enumerate(plan.nodes)}
    began = time.process_time()
    found = schedule_of(plan, seconds, 64)
    assert time.process_time() - began < 5
    assert found.utilisation(found.wall) > 0.95


TWO_SIZES = DPO.replace("neox-0.3m]", "neox-0.3m, builtin:ladder/neox-4m]").replace("tokens: 4096", "tokens: 400")


def test_a_run_starts_the_longest_cells_first_where_that_is_faster(tmp_path, capsys):
    from rich.console import Console

    prepared = prepare(write(tmp_path, TWO_SIZES), None, tmp_path / "results", None, None)
    order = order_to_start(prepared.plan, lengths_of(prepared.plan, set(), []), 2)
    assert order != list(prepared.plan.nodes)
    suite_run.run(prepared, Console(stderr=True), suite_run.Manner(workers=2, run_of=noop.run_of))
    log = [json.loads(line) for line in (prepared.folder / "log.jsonl").read_text().splitlines()]
    started = [event["key"] for event in log if event["what"] == "started" and event["kind"] == "base"]
    assert started == [key for key in order if prepared.plan.nodes[key].kind == "base"]
    assert prepared.plan.nodes[started[0]].spec.model.path.endswith("neox-4m")


def test_what_was_timed_decides_before_what_was_counted(tmp_path):
    plan = plan_of(tmp_path, TWO_SIZES)
    works = works_of(plan)
    slow = {work.group for key, work in works.items() if key in plan.keys_of(plan.cells[0])}
    records = [Record(work.group, work.amount.timed, 50 if work.group in slow else 1) for work in works.values()]
    assert list(order_to_start(plan, lengths_of(plan, set(), records), 2)) == list(plan.nodes)


def test_the_command_line_says_how_busy_so_many_workers_are(tmp_path):
    suite = write(tmp_path, DPO)
    given = ("plan", suite, "--results", tmp_path / "results", "--hardware", "h100", "--workers", "64")
    found = json.loads(bench(*given, "--json").stdout)
    schedule = found["schedule"]
    assert (schedule["workers"], found["estimate"]["machine"]["name"]) == (64, "64 x h100")
    assert schedule["wall"] == found["estimate"]["wall"]
    assert schedule["utilisation"] == pytest.approx(schedule["work"] / 64 / schedule["wall"])
    assert found["stages"][schedule["critical"][0]["key"]]["kind"] == "base"
    shown = " ".join(bench(*given).stdout.split())
    for words in ("64 workers, simulated", "no order is faster than", "workers can be kept busy", "critical path: "):
        assert words in shown
    wrong = bench("plan", suite, "--hardware", "8xh100", "--workers", "64")
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == ("--hardware 8xh100 --workers 64: expected one worker a device; leave --workers out")


def test_a_machine_on_which_nothing_was_timed_has_no_schedule(tmp_path):
    done = bench("plan", write(tmp_path, DPO), "--results", tmp_path / "results", "--workers", "4")
    assert "simulated" not in done.stdout
    assert "add --calibrate" in done.stderr
