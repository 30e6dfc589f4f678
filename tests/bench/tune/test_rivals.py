"""Any parameter of a loss is searched, a mix's weights too; rivals at the tuned one's budget; one real search."""

from dataclasses import replace

import pytest
import yaml

from gatebench.bench.errors import UserError
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.suite.tuning import Range
from gatebench.bench.tune.space import best_suite, dimensions, trial_suite, tuned_point
from gatebench.bench.tune.study import make_task
from tests.helpers import DPO, bench, suite_of, write

OBJECTIVES = "[dpo, orpo, {name: rpo, loss: {dpo: 1, nll: 0.2}}, {name: bpo, loss: bpo}, {name: simpo, loss: simpo}]"
MANY = DPO.replace("[dpo]", OBJECTIVES)


def suite_with(tmp_path, block, text=MANY):
    return suite_of(tmp_path, f"{text}tune: {{{block}}}\n")


def trial(suite, numbers):
    found = trial_suite(suite, suite.tune, numbers)
    ((objective,), (gate,)) = found.objectives, found.gates
    return objective, gate, found


def test_a_parameter_of_the_loss_is_what_a_name_means_without_a_gate(tmp_path):
    suite = suite_with(
        tmp_path, "over: objective, at: {objective: bpo}, space: {alpha: {low: 0.1, high: 2, log: true}}"
    )
    assert set(dimensions(tuned_point(suite, suite.tune), suite.tune)) == {"alpha"}
    objective, gate, found = trial(suite, {"alpha": 0.7, "learning_rate": 0.02})
    assert (objective.parameters, gate.kind, found.train.learning_rate) == ({"alpha": 0.7}, "none", 0.02)


def test_beside_a_gate_its_own_names_are_the_gates(tmp_path):
    suite = suite_with(
        tmp_path, "at: {objective: simpo}, space: {alpha: [20, 40], gamma: [0.5, 1], percentile: [10, 50]}"
    )
    objective, gate, _ = trial(suite, {"alpha": 20.0, "gamma": 0.5, "percentile": 10.0})
    assert (objective.parameters, gate.alpha, gate.tau) == ({"gamma": 0.5}, 20.0, "q10")


def test_of_a_mix_a_parts_name_is_its_weight_and_a_part_has_parameters_of_its_own(tmp_path):
    suite = suite_with(
        tmp_path,
        "over: objective, at: {objective: rpo}, space: {nll: {low: 0.01, high: 3, log: true}, dpo.beta: [0.1, 1]}",
    )
    objective, *_ = trial(suite, {"nll": 0.05, "dpo.beta": 0.3})
    assert (objective.name, objective.loss) == ("rpo", "dpo+0.05*nll")
    assert objective.parameters == {"dpo": {"beta": 0.3}}


def test_the_default_range_of_beta_holds_the_losss_own(tmp_path):
    suite = suite_with(tmp_path, "over: objective, at: {objective: simpo}")
    assert dimensions(tuned_point(suite, suite.tune), suite.tune)["beta"] == Range(low=0.2, high=20, log=True)
    suite = suite_with(tmp_path, "over: objective, at: {objective: orpo}")
    assert set(dimensions(tuned_point(suite, suite.tune), suite.tune)) == {"learning_rate"}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "over: objective, at: {objective: bpo}, space: {alpah: [1]}",
            "unknown dimension 'alpah'; did you mean 'alpha'",
        ),
        ("over: objective, at: {objective: bpo}, space: {kappa: [1]}", "unknown dimension 'kappa'"),
        ("over: objective, at: {objective: bpo}, space: {beta: {low: 0, high: 1}}", "bpo's beta 0.0 has no meaning"),
        ("over: objective, at: {objective: bpo}, space: {beta: [some]}", "bpo's beta 'some' is no finite number"),
        ("over: objective, at: {objective: bpo}, space: {learning_rate: [some]}", "'some' is no number"),
        ("over: objective, at: {objective: rpo}, space: {nll: {low: -1, high: 1}}", "the weight -1.0 of nll"),
        ("at: {objective: dpo}, rivals: [orpp]", "unknown objective of rivals 'orpp'; did you mean 'orpo'"),
        ("at: {objective: dpo}, rivals: [dpo]", "rivals: dpo is what is tuned; fair: true searches it without a gate"),
        ("at: {objective: dpo}, rivals: {orpo: {lamb: [1]}}", "unknown dimension 'lamb'; did you mean 'lam'"),
        (
            "at: {objective: dpo}, rivals: {orpo: {lam: {low: 2, high: 1}}}",
            "rivals.orpo.lam: low 2 is not below high 1",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(tmp_path, block, expected):
    with pytest.raises(UserError) as caught:
        suite_with(tmp_path, block)
    (sentence,) = caught.value.sentences
    assert expected in sentence
    assert sentence.startswith(f"{tmp_path}/suite.yaml:{MANY.count(chr(10)) + 1}: tune")


def test_each_rival_is_searched_ungated_at_the_same_budget(tmp_path):
    block = "trials: 7, seeds: [1, 2], at: {objective: dpo}, fair: true, rivals: {orpo: {lam: [0.1, 0.3]}, simpo: }"
    suite = suite_with(tmp_path, block)
    tune = suite.tune
    for name, dims in (("orpo", {"lam"}), ("simpo", {"beta", "learning_rate"})):
        rival = tune.of_rival(name)
        assert (rival.trials, rival.seeds, rival.maximize, rival.over) == (7, [1, 2], tune.maximize, "objective")
        assert set(dimensions(tuned_point(suite, rival), rival)) == dims
        assert trial_suite(suite, rival, {}).objectives[0].name == name


def test_rivals_leave_a_study_the_name_that_it_had(tmp_path):
    def name(block):
        suite = suite_with(tmp_path, f"at: {{objective: dpo}}{block}")
        return make_task(suite, suite.tune, resolve(suite, tmp_path / "suite.yaml"), tmp_path / "results").name

    assert name("") == name(", rivals: [orpo]") == name(", fair: true, trials: 3")


@pytest.mark.parametrize("over", ["gates", "objective"])
def test_the_winners_suite_holds_every_tuned_rival_by_its_own_recipe(tmp_path, over):
    text = MANY + "overrides:\n  - {where: {objective: simpo}, train: {steps: 6, learning_rate: 0.5}}\n"
    suite = suite_with(tmp_path, f"at: {{objective: dpo}}, over: {over}, rivals: [orpo, rpo, simpo]", text)
    best = {"kappa": 2.0, "percentile": 40.0} if over == "gates" else {"beta": 0.2}
    rivals = {"orpo": {"lam": 0.3, "learning_rate": 0.02}, "rpo": {"nll": 0.5}, "simpo": {"beta": 3.0}}
    raw = best_suite(suite, suite.tune, best, None, 3, rivals)
    found = suite_of(tmp_path, yaml.safe_dump(raw, allow_unicode=True))
    plan = make_plan(found, resolve(found, tmp_path / "suite.yaml"))
    cells = {(cell.objective, cell.gate): cell for cell in plan.cells}
    specs = {name: plan.nodes[cells[f"{name}_tuned", "none"].stages["train"]].spec for name in rivals}
    assert (specs["orpo"].parameters.lam, specs["orpo"].recipe.learning_rate) == (0.3, 0.02)
    assert "warmup" not in cells["orpo_tuned", "none"].stages
    assert specs["rpo"].loss == "dpo+0.5*nll"
    assert (specs["simpo"].recipe.steps, specs["simpo"].recipe.learning_rate) == (6, 0.5)
    assert specs["rpo"].recipe == replace(specs["orpo"].recipe, learning_rate=0.001)
    assert all((f"{name}_tuned", "seq") not in cells for name in rivals)
    ours = {"objective": "dpo", "gate": "tuned"} if over == "gates" else {"objective": "dpo_tuned"}
    contrasts = [claim.contrast.sides() for claim in found.claims]
    for name in rivals:
        assert sum(({**ours}, {"objective": f"{name}_tuned", "gate": "none"}) in map(tuple, c) for c in contrasts) == 2


def test_an_asked_for_warm_up_stays_in_the_winners_suite(tmp_path):
    suite = suite_with(tmp_path, "over: objective", DPO.replace("[dpo]", "[{name: orpo, warmup: sft}]"))
    raw = best_suite(suite, suite.tune, {"lam": 0.3}, None, 3)
    assert [entry["warmup"] for entry in raw["objectives"]] == ["sft", "sft"]


@pytest.mark.slow
def test_a_gate_on_a_loss_without_a_reference_and_its_rivals_are_searched(tmp_path):
    rivals = "{rpo: {nll: [0.1, 1]}, orpo: {lam: [0.1, 1]}}"
    block = f"trials: 2, sampler: random, pruner: none, at: {{objective: simpo}}, fair: true, rivals: {rivals}"
    file = write(tmp_path, f"{MANY}tune: {{{block}}}\n")
    done = bench("tune", file, "--results", tmp_path / "results", "--workers", "1")
    assert done.returncode == 0, done.stderr
    best = yaml.safe_load(next((tmp_path / "results/tune").glob("*/best.yaml")).read_text())
    assert {"simpo", "simpo_fair", "rpo_tuned", "orpo_tuned"} <= {entry["name"] for entry in best["objectives"]}
