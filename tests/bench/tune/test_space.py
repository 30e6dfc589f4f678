"""What a trial's numbers mean, and what the winner's suite holds."""

import pytest
import yaml

from gatebench.bench.errors import UserError
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.tune.space import best_suite, dimensions, trial_suite, tuned_gate, tuned_point
from tests.helpers import DPO, GOOD, plan_of, suite_of

TUNE = "tune: {trials: 4, maximize: delta_chosen}\n"


def test_several_objectives_need_a_point(tmp_path):
    suite = suite_of(tmp_path, GOOD + TUNE)
    with pytest.raises(
        UserError, match=r"tune\.at: the suite has 2 objectives; name one objective of dpo, extended_sft"
    ):
        tuned_point(suite, suite.tune)
    suite = suite_of(tmp_path, GOOD + "tune: {at: {objective: extended_sft}}\n")
    assert [o.name for o in tuned_point(suite, suite.tune).objectives] == ["extended_sft"]


def test_the_defaults_are_free_of_scale(tmp_path):
    suite = suite_of(tmp_path, DPO + TUNE)
    assert set(dimensions(suite, suite.tune)) == {"kappa", "percentile"}
    suite = suite_of(tmp_path, DPO + "tune: {space: {tau: {low: 0.003, high: 0.2, log: true}}}\n")
    assert set(dimensions(suite, suite.tune)) == {"kappa", "tau"}
    suite = suite_of(tmp_path, DPO + "tune: {over: objective}\n")
    assert set(dimensions(suite, suite.tune)) == {"beta", "learning_rate"}


def test_kappa_is_alpha_times_tau(tmp_path):
    suite = suite_of(tmp_path, DPO + TUNE)
    gate = tuned_gate(suite, suite.tune, {"kappa": 2.0, "percentile": 40.0})
    assert (gate.kind, gate.tau, gate.alpha) == ("seq", "q40", "2/tau")
    gate = tuned_gate(suite, suite.tune, {"kappa": 2.0, "tau": 0.1, "side": "down"})
    assert (gate.tau, gate.alpha, gate.side) == (0.1, "2/tau", "down")


def test_overrides_of_the_point_are_in_the_trials_recipe(tmp_path):
    text = DPO + "overrides:\n  - {where: {loss: dpo}, train: {learning_rate: 0.5}}\n"
    suite = suite_of(tmp_path, text + TUNE)
    trial = trial_suite(suite, suite.tune, {"kappa": 1.0, "percentile": 10.0})
    assert trial.train.learning_rate == 0.5
    trial = trial_suite(suite, suite.tune, {"kappa": 1.0, "percentile": 10.0, "learning_rate": 0.25, "beta": 0.3})
    assert trial.train.learning_rate == 0.25
    assert trial.objectives[0].parameters == {"beta": 0.3}
    assert [gate.kind for gate in trial.gates] == ["seq"]


@pytest.mark.parametrize("fair", [None, {"beta": 0.02, "learning_rate": 0.004}])
@pytest.mark.parametrize("best", [{"kappa": 2.0, "percentile": 40.0}, {"kappa": 2.0, "tau": 0.1, "beta": 0.5}])
def test_the_winners_suite_can_be_loaded_and_holds_what_it_has_to_beat(tmp_path, fair, best):
    from gatebench.bench.plan.planner import make_plan

    suite = suite_of(tmp_path, DPO + TUNE)
    raw = best_suite(suite, suite.tune, best, fair, 3)
    found = suite_of(tmp_path, yaml.safe_dump(raw, allow_unicode=True))
    plan = make_plan(found, resolve(found, tmp_path / "suite.yaml"))
    points = {(cell.objective, cell.gate) for cell in plan.cells}
    tuned = ("dpo_tuned" if "beta" in best else "dpo", "tuned")
    assert {("dpo", "none"), ("dpo", "seq"), tuned} <= points
    assert (("dpo_fair", "none") in points) == (fair is not None)
    assert ("dpo_fair", "seq") not in points
    assert found.evaluate.dynamics.tuned_on == 3
    assert plan.tuned_on == 3
    untuned = plan_of(tmp_path, DPO)
    assert {cell.stages["dynamics"] for cell in untuned.cells} <= plan.nodes.keys()  # nothing of them is run again
    if fair:
        (cell,) = [cell for cell in plan.cells if cell.objective == "dpo_fair"]
        assert plan.nodes[cell.stages["train"]].spec.recipe.learning_rate == 0.004
        assert plan.nodes[cell.stages["train"]].spec.parameters.beta == 0.02
