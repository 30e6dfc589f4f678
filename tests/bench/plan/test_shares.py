"""Suites whose models are trained on several devices: what is read, planned and refused, and whose keys move."""

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.models.source import Spread
from gatebench.bench.plan.readable import check_rows
from gatebench.bench.plan.resolve import resolve
from tests.helpers import DPO, plan_of, suite_of, write

MODEL = "[builtin:ladder/neox-0.3m]"


def with_model(more, text=DPO):
    return text.replace(MODEL, f"[{{path: builtin:ladder/neox-0.3m, {more}}}]")


def kinds_of(plan):
    return {
        kind: {key for key, node in plan.nodes.items() if node.kind == kind} for kind in ("base", "warmup", "train")
    }


def test_devices_move_the_keys_of_trainings_and_of_nothing_before_them(tmp_path):
    alone, said = kinds_of(plan_of(tmp_path, DPO)), kinds_of(plan_of(tmp_path, with_model("devices: 1")))
    assert alone == said
    plan = plan_of(tmp_path, with_model("devices: 2"))
    two, sharded = kinds_of(plan), kinds_of(plan_of(tmp_path, with_model("devices: 2, strategy: fsdp")))
    assert alone["base"] == two["base"] == sharded["base"]
    for kind in ("warmup", "train"):
        assert not alone[kind] & two[kind]
        assert not two[kind] & sharded[kind]
    assert {node.kind: node.devices for node in plan.nodes.values()} == {
        "base": 1, "warmup": 2, "reference": 1, "train": 2, "dynamics": 1,
    }  # fmt: skip
    assert plan.at_once == 4  # two trainings of two


def test_a_suite_says_how_a_model_is_spread(tmp_path):
    suite = suite_of(tmp_path, with_model("devices: 4"))
    assert suite.models[0].spread == Spread(4, "ddp")
    assert suite_of(tmp_path, DPO).models[0].spread is None


@pytest.mark.parametrize(("more", "sentence"), [
    ("devices: 2, strategy: fdsp", "unknown strategy 'fdsp'; did you mean 'fsdp'?"),
    ("device: 2", "unknown key; did you mean 'devices'?"),
    ("devices: 0", "greater than 0"),
    ("strategy: fsdp", "over several devices; write devices: 2"),
    ("devices: 2, strategy: fsdp, adapter: {kind: lora}", "an adapter leaves them as they are; write ddp"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, more, sentence):
    with pytest.raises(UserError) as refused:
        suite_of(tmp_path, with_model(more))
    (found,) = refused.value.sentences
    assert sentence in found
    assert "suite.yaml:2: models.0" in found


@pytest.mark.parametrize(("text", "sentence"), [
    (with_model("devices: 3"), "train.batch_size: 4 pairs cannot be shared out evenly over the 3 devices of model"),
    (with_model("devices: 2", DPO.replace("batch_size: 4", "batch_size: 4\n  micro_batch_size: 4")),
     "train.micro_batch_size: 4 does not divide the 2 pairs of a batch that each of the 2 devices"),
    (with_model("devices: 2, strategy: fsdp", DPO.replace("[none,", "[{kind: rc},")), "gate rc needs the whole head"),
])  # fmt: skip
def test_a_plan_whose_batches_do_not_divide_is_refused(tmp_path, text, sentence):
    with pytest.raises(UserError) as refused:
        plan_of(tmp_path, text)
    assert any(sentence in found for found in refused.value.sentences)


def test_rows_that_do_not_divide_at_the_end_of_an_epoch_are_refused_before_anything_runs(tmp_path):
    text = with_model("devices: 2", DPO.replace("train: 24", "train: 25"))
    file = write(tmp_path, text)
    with pytest.raises(UserError, match="25 rows cannot be shared out evenly over 2 devices") as refused:
        check_rows(plan_of(tmp_path, text), resolve(suite_of(tmp_path, text), file))
    assert len(refused.value.sentences) == 1  # the warm-up's; the trainings end before
