"""Which stages cells share, and what a change to the suite moves."""

from dataclasses import replace

import pytest

from gatebench.bench.data.source import DataSource
from gatebench.bench.keys import canonical
from gatebench.bench.models.source import ModelSource
from gatebench.bench.plan.graph import Sources
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.stages import train
from gatebench.bench.suite.reader import load_suite
from tests.helpers import GOOD, SUITES, plan_of


def keys(plan, kind):
    return {node.key for node in plan.nodes.values() if node.kind == kind}


def test_cells_share_every_stage_whose_key_is_equal(tmp_path):
    plan = plan_of(tmp_path)
    assert len(plan.cells) == 4
    counts = {kind: len(keys(plan, kind)) for kind in ("base", "warmup", "reference", "train", "dynamics")}
    # two warm-ups; the dynamics at step 0 belong to the warm-up, the others to a cell
    assert counts == {"base": 1, "warmup": 2, "reference": 2, "train": 4, "dynamics": 2 + 4}


def test_inputs_come_before_what_needs_them(tmp_path):
    seen = set()
    for key, node in plan_of(tmp_path).nodes.items():
        assert {i for _, _, i in node.inputs} <= seen
        seen.add(key)


def test_a_gate_parameter_moves_that_gates_train_and_dynamics_only(tmp_path):
    before, after = plan_of(tmp_path), plan_of(tmp_path, GOOD.replace("alpha: 50", "alpha: 60"))
    for kind in ("base", "warmup", "reference"):
        assert keys(before, kind) == keys(after, kind)
    assert len(keys(after, "train") - keys(before, "train")) == 2
    assert len(keys(after, "dynamics") - keys(before, "dynamics")) == 2


@pytest.mark.parametrize(
    ("setting", "value", "moved"),
    [
        ("train.learning_rate", 0.5, {"train", "dynamics"}),
        ("warmup.learning_rate", 0.5, {"warmup", "reference", "train", "dynamics"}),
        ("base.tokens", 8192, {"base", "warmup", "reference", "train", "dynamics"}),
        ("evaluate.dynamics.probes", 3, {"train", "dynamics"}),
        ("name", "another", set()),
    ],
)
def test_a_setting_moves_what_depends_on_it(tmp_path, setting, value, moved):
    before, after = plan_of(tmp_path), plan_of(tmp_path, **{setting: value})
    assert {
        k for k in ("base", "warmup", "reference", "train", "dynamics") if keys(before, k) != keys(after, k)
    } == moved


def test_a_new_version_of_a_stage_moves_its_key_and_those_after_it(tmp_path, monkeypatch):
    before = plan_of(tmp_path)
    monkeypatch.setattr(train, "STAGE", replace(train.STAGE, version=train.VERSION + 1))
    after = plan_of(tmp_path)
    assert keys(before, "reference") == keys(after, "reference")
    assert not keys(before, "train") & keys(after, "train")


def test_a_new_library_version_moves_every_key(tmp_path, monkeypatch):
    before = plan_of(tmp_path)
    monkeypatch.setattr("gatebench.bench.plan.planner.library_versions", lambda: {"torch": "9"})
    assert not set(before.nodes) & set(plan_of(tmp_path).nodes)


def test_names_and_paths_move_nothing():
    suite = load_suite(SUITES / "scale_vs_gate.yaml", "quick")
    names = [model.name for model in suite.models]

    def plan(place):
        models = {name: ModelSource(f"weights {name}", path=f"{place}/{name}") for name in names}
        return make_plan(suite, Sources(models, {"toolbox": DataSource("rows", 9, 9, 9, path=f"{place}/rows")}))

    assert plan("/here").nodes.keys() == plan("/there").nodes.keys()


def test_exclude_and_overrides(tmp_path):
    extra = "exclude: [{gate: seq, objective: dpo}]\n"
    extra += "overrides: [{where: {objective: extended_sft}, train: {learning_rate: 0.5}}]\n"
    plan = plan_of(tmp_path, GOOD + extra)
    assert [cell.id.split("/")[2:4] for cell in plan.cells] == [
        ["dpo", "none"],
        ["extended_sft", "none"],
        ["extended_sft", "seq"],
    ]
    rates = {cell.objective: plan.nodes[cell.stages["train"]].spec.recipe.learning_rate for cell in plan.cells}
    assert rates == {"dpo": 0.001, "extended_sft": 0.5}


def test_seeds_share_everything_but_warm_up_and_training(tmp_path):
    plan = plan_of(tmp_path, GOOD.replace("seeds: [0]", "seeds: [0, 1]"))
    assert len(keys(plan, "base")) == 1
    assert len(keys(plan, "warmup")) == 4
    assert len(keys(plan, "train")) == 8


@pytest.mark.parametrize("profile", [None, "quick", "llm"])
def test_every_profile_of_the_shipped_suite_plans_without_a_network(profile):
    file = SUITES / "scale_vs_gate.yaml"
    suite = load_suite(file, profile)
    plan = make_plan(suite, resolve(suite, file))
    expected = {None: 3 * 5 * 4 * 3, "quick": 2 * 3 * 3, "llm": 400}
    assert len(plan.cells) == expected[profile]


def test_the_type_of_the_weights_is_said_where_not_all_is_float32(tmp_path):
    """float32 for weights that train, bfloat16 for those frozen under an adapter; a float32 suite keeps its keys."""
    lora = ", adapter: {kind: lora, r: 4}"
    found = {}
    for extra in ("", lora, ", dtype: bfloat16", f", dtype: bfloat16{lora}"):
        text = GOOD.replace("[builtin:ladder/neox-0.3m]", f"[{{path: 'builtin:ladder/neox-0.3m'{extra}}}]")
        specs = [node.spec for node in plan_of(tmp_path, text).nodes.values() if node.kind != "base"]
        (found[extra],) = {spec.weights for spec in specs}
        assert all(("weights" in canonical(spec)) == bool(found[extra]) for spec in specs)
    assert list(found.values()) == ["", "", "float32", "bfloat16"]


def test_adapters_on_one_model_share_its_files_and_its_reference(tmp_path):
    """The reference of an adapter without a warm-up is its model with the adapter off: computed once."""
    adapters = ", ".join(
        f"{{path: 'builtin:ladder/neox-0.3m', name: r{r}, adapter: {{kind: lora, r: {r}}}}}" for r in (8, 16)
    )
    text = GOOD.replace("models: [", f"models: [{adapters}, ")
    plan = plan_of(tmp_path, text.replace("[dpo, extended_sft]", "[{loss: dpo, warmup: none}]"))
    assert {kind: len(keys(plan, kind)) for kind in ("base", "reference", "train")} == {
        "base": 1, "reference": 1, "train": 3 * 2,
    }  # fmt: skip
    warmed = plan_of(tmp_path, text.replace("[dpo, extended_sft]", "[dpo]"))  # an adapter's warm-up is its own
    assert {kind: len(keys(warmed, kind)) for kind in ("base", "warmup", "reference")} == {
        "base": 1, "warmup": 3, "reference": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.schedule", "constant_with_warmup"), ("train.weight_decay", 0.0), ("train.torch_compile", False),
        ("train.gradient_checkpointing", False), ("warmup.optimizer", "adamw_torch_fused"),
        ("warmup.gradient_checkpointing", False), 
    ],
)  # fmt: skip
def test_an_option_at_its_default_moves_no_key(tmp_path, setting, value):
    text = GOOD.replace("builtin:ladder/neox-0.3m", "{path: 'builtin:ladder/neox-0.3m', adapter: {kind: lora}}")
    before = plan_of(tmp_path, text).nodes.keys()
    assert plan_of(tmp_path, text, **{setting: value}).nodes.keys() == before
    written = text.replace("{kind: lora}}", "{kind: lora, targets: all-linear}, attention: ''}")
    assert plan_of(tmp_path, written).nodes.keys() == before
