"""What stages took on this machine, kept and timed."""

import json
from dataclasses import replace

import pytest

from gatebench.bench.cost.amounts import work_of
from gatebench.bench.cost.calibration import (
    MOST_TIMED,
    STEPS_TIMED,
    Record,
    _chains,
    _short,
    records,
    remember,
    sets_for,
    steps_in,
)
from gatebench.bench.machine import Machine
from gatebench.bench.store.store import Store
from tests.helpers import DPO, GOOD, bench, plan_of, write

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
    suite = write(tmp_path, GOOD.replace("steps: 4", "steps: 20"))
    done = bench("plan", suite, "--results", tmp_path / "results", "--calibrate", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["estimate"]["wall"] > 0
    assert found["estimate"]["measured"]
    assert not any(stage["finished"] for stage in found["stages"].values())
    again = bench("plan", suite, "--results", tmp_path / "results")
    assert "about" in again.stdout
    assert list((tmp_path / "results/store/.calibration").glob("work-*")) == []


@pytest.mark.parametrize("steps", [0, 10, 40, 100, 400, 10_000])
def test_never_more_is_timed_than_a_share_of_the_suite(steps):
    for workers, chains in ((1, 1), (2, 1), (2, 3)):
        sets = sets_for(steps, chains, workers)
        assert workers * (sum(sets) + (chains - 1) * sum(sets[-2:])) <= MOST_TIMED * steps or not sets
    assert sets_for(10, 1, 2) == ()
    assert sets_for(100, 1, 2) == STEPS_TIMED[:3]
    assert sets_for(10_000, 1, 2) == STEPS_TIMED


def test_the_steps_of_a_plan_are_those_of_its_trainings(tmp_path):
    assert steps_in(plan_of(tmp_path)) == 4 * 4


def test_a_suite_as_short_as_its_timing_is_not_timed_and_a_hub_is_not_asked(tmp_path):
    done = bench("plan", write(tmp_path, DPO), "--results", tmp_path / "results", "--calibrate")
    assert "nothing was timed: the suite itself takes little longer" in done.stderr
    away = write(tmp_path, DPO.replace("steps: 4", "steps: 900").replace("builtin:ladder/neox-0.3m", "some/thing-7b"))
    done = bench("plan", away, "--results", tmp_path / "results", "--calibrate")
    assert "not timed, since it is not on this machine yet: some/thing-7b" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_short_form_is_of_the_group_of_what_it_stands_for(tmp_path):
    plan = plan_of(tmp_path, DPO)
    short = _short(_chains(plan)[0][0], 3, [0])
    whole, cut = ({work_of(node, made.nodes).group for node in made.nodes.values()} for made in (plan, short))
    assert cut <= whole
    assert {group.split("-")[0] for group in cut} == {group.split("-")[0] for group in whole}
