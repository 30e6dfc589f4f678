"""Estimates by hand: a rate from timed stages, the schedule of workers, what does not fit."""

import pytest

from gatebench.bench.cost.amounts import work_of
from gatebench.bench.cost.calibration import Record
from gatebench.bench.cost.estimate import Rates, cost_cautions, estimate_cost
from gatebench.bench.machine import Machine
from tests.helpers import plan_of

TWO = Machine("two workers", workers=2, gpus=0, memory=10**12)
SECONDS = {"base": 10.0, "warmup": 5.0, "reference": 1.0, "train": 7.0, "dynamics": 3.0}


def timed(plan, seconds=lambda kind: SECONDS[kind]):
    """Records that give every stage of a plan these seconds."""
    works = [(node.kind, work_of(node, plan.nodes)) for node in plan.nodes.values()]
    return [Record(work.group, work.amount.timed, seconds(kind), tokens=100, peak_memory=10**9) for kind, work in works]


def test_a_constant_and_a_rate_are_fitted_to_a_group(tmp_path):
    plan = plan_of(tmp_path)
    node = next(node for node in plan.nodes.values() if node.kind == "base")
    work = work_of(node, plan.nodes)
    assert work.amount.units == 4096
    rates = Rates([Record(work.group, 100, 2.0), Record(work.group, 200, 3.0)])
    assert rates.seconds(work) == pytest.approx(1.0 + 0.01 * 4096)
    assert Rates([Record(work.group, 1024, 2.0)]).seconds(work) == pytest.approx(8.0)
    assert Rates([Record("another", 1024, 2.0)]).seconds(work) is None


def test_the_wall_clock_of_two_workers_by_hand(tmp_path):
    plan = plan_of(tmp_path)  # one base; two warm-ups, each with start, reference, two trainings and their dynamics
    found = estimate_cost(plan, set(), timed(plan), TWO)
    # until 15 base and both warm-ups; then, by turns of two workers in the plan's order: start 18 and reference 16,
    # trainings 23 and 25, their dynamics 26 and 28, start 29 and reference 29, trainings 36 and 36, dynamics 39 and 39
    assert found.wall == pytest.approx(39)
    assert found.in_all.seconds == pytest.approx(10 + 2 * (5 + 24))
    assert sum(cost.seconds for cost in found.cells.values()) == pytest.approx(found.in_all.seconds)


def test_finished_stages_cost_nothing_more_and_unknown_ones_leave_the_hours_open(tmp_path):
    plan = plan_of(tmp_path)
    assert estimate_cost(plan, set(plan.nodes), timed(plan), TWO).wall == 0
    found = estimate_cost(plan, set(), [], TWO)
    assert found.wall is None
    assert found.in_all.tokens > 0  # at most
    assert found.in_all.memory > 0


def test_a_suite_that_does_not_fit_is_told_before_it_runs(tmp_path):
    plan = plan_of(tmp_path)
    small = Machine("small", workers=2, gpus=0, memory=10**9)
    found = estimate_cost(plan, set(), timed(plan), small)
    memory, disk = cost_cautions(found, small, free=1000)
    assert "2 workers would need about 2.0 GB of memory and there are 1.0" in memory
    assert "of disk" in disk
    assert cost_cautions(found, TWO, free=10**12) == []
