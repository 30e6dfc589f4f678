"""Cells whose loss reads no reference: no reference stage, unless the gate is measured on one; and they train."""

import json

import pandas
import pytest

from gatebench.bench.stages.stage import CAUTIONS
from tests.helpers import DPO, plan_of, run_stage

WITH = DPO.replace("steps: 4", "steps: 5")


def suite_with(loss):
    return WITH.replace("[dpo]", f"[{loss}]")


def cell_of(plan, gate):
    (cell,) = [cell for cell in plan.cells if cell.gate == gate]
    return cell


@pytest.mark.parametrize("loss", ["simpo", "orpo", "cpo", "slic", "sft", "{name: free, loss: {simpo: 1, nll: 0.2}}"])
def test_only_a_gate_that_is_measured_has_its_rejected_responses_scored(tmp_path, loss):
    text = suite_with(loss).replace("gates: [none, ", "gates: [none, {name: half, kind: constant, value: 0.5}, ")
    plan = plan_of(tmp_path, text)
    roles = {gate: {role for role, _, _ in plan.nodes[cell_of(plan, gate).stages["train"]].inputs}
             for gate in ("none", "half", "seq")}  # fmt: skip
    assert roles == {"none": {"policy"}, "half": {"policy"}, "seq": {"policy", "reference"}}
    assert "reference" not in cell_of(plan, "none").stages
    assert "reference" in cell_of(plan, "seq").stages


def test_a_plan_without_such_a_gate_has_no_reference_stage_at_all(tmp_path):
    kinds = [node.kind for node in plan_of(tmp_path, suite_with("simpo"), gates=["none"]).nodes.values()]
    assert "reference" not in kinds
    kinds = [node.kind for node in plan_of(tmp_path, suite_with("orpo"), gates=["none"]).nodes.values()]
    assert "warmup" not in kinds
    kinds = [node.kind for node in plan_of(tmp_path, suite_with("alpha_dpo"), gates=["none"]).nodes.values()]
    assert "reference" in kinds


def test_such_a_cell_trains_and_says_what_its_reference_stage_would_have(tmp_path):
    rows = [{"prompt": f"Say {n}: ", "chosen": f"{n} it is", "rejected": f"not {n}"} for n in range(23)]
    rows.append({"prompt": "Say it again. " * 200, "chosen": "yes", "rejected": "no"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = "{name: own, path: pairs.jsonl, test_path: pairs.jsonl, max_dropped: 0.5}"
    text = suite_with("orpo").replace("{name: toolbox, path: builtin:toolbox, train: 24, test: 8}", own)
    plan = plan_of(tmp_path, text, gates=["none"])
    for node in plan.nodes.values():
        facts = run_stage(node, tmp_path, tmp_path / node.key)
        if node.kind == "train":
            assert facts["steps"] == 5
            (dropped,) = facts["dropped"]
            assert "pairs.jsonl:24" in dropped
            assert any("1 of 24 training pairs were left out" in sentence for sentence in facts[CAUTIONS])
            curves = pandas.read_parquet(tmp_path / node.key / "curves.parquet")
            assert curves["loss"].gt(0).all()
            json.dumps(facts)


@pytest.mark.parametrize("loss", ["{name: rpo, loss: {dpo: 1, nll: 0.2}, parameters: {dpo: {beta: 0.3}}}", "beta_dpo"])
def test_a_mix_and_a_loss_with_a_memory_train_gated(tmp_path, loss):
    plan = plan_of(tmp_path, suite_with(loss).replace("[none, {", "[{"))
    for node in plan.nodes.values():
        if node.kind in ("base", "warmup", "reference", "train"):
            facts = run_stage(node, tmp_path, tmp_path / node.key)
    assert facts["steps"] == 5
