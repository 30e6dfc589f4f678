"""GatedDPOTrainer against stock TRL, real trainers on real pairs: bit for bit without a gate."""

import json
from functools import cache

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from gatebench.objectives.names import UnknownWord
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer

SETTINGS = {
    "plain": {},
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "bf16": {"bf16": True},
    "precomputed": {"precompute_ref_log_probs": True},
    "lora": {},
}


def train(kind, path, tokenizer, rows, tmp_path, setting="plain", steps=2, **more):
    """Train `steps` steps and return the trainer."""
    config, trainer = (GatedDPOConfig, GatedDPOTrainer) if kind == "ours" else (DPOConfig, DPOTrainer)
    arguments = {
        "per_device_train_batch_size": 4, "learning_rate": 1e-3, "max_steps": steps, "logging_steps": 1, "seed": 1,
        "gradient_checkpointing": False, "bf16": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True,
        "use_cpu": True, "max_length": 64, **SETTINGS[setting], **more,
    }  # fmt: skip
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
        args=config(output_dir=str(tmp_path / kind), **arguments),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if setting == "lora" else None,
    )  # fmt: skip
    made.train()
    return made


def resumed(whole, model_path, point):
    """A training like another, from one of its checkpoints to the end."""
    trainer = GatedDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_path), args=whole.args, train_dataset=whole.train_dataset,
        processing_class=whole.processing_class,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=str(point))
    return trainer


def weights(trainer):
    return {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}


def assert_same_bits(ours, theirs):
    ours, theirs = weights(ours), weights(theirs)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def stock(model_paths, tokenizer, preference_rows, tmp_path_factory):
    """(setting, family, steps) -> TRL's own trainer, trained once for all that compare with it."""

    @cache
    def trained(setting="plain", family="neox", steps=2):
        folder = tmp_path_factory.mktemp("stock")
        return train("stock", model_paths[family], tokenizer, preference_rows, folder, setting, steps)

    return trained


OPEN = {"gate": "seq", "gate_alpha": 1e30, "gate_tau": 0.0}  # g = sigmoid(1e30 p) is 1 for any probability


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("gate", [{}, OPEN], ids=["none", "open"])
def test_weights_are_trls_bit_for_bit(model_paths, tokenizer, preference_rows, tmp_path, stock, setting, gate):
    ours = train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, setting, **gate)
    assert_same_bits(ours, stock(setting))


@pytest.mark.parametrize("family", ["neox", "llama", "qwen"])
def test_one_step_is_trls_bit_for_bit(model_paths, tokenizer, preference_rows, tmp_path, stock, family):
    ours = train("ours", model_paths[family], tokenizer, preference_rows, tmp_path, steps=1, **OPEN)
    assert_same_bits(ours, stock(family=family, steps=1))


DOCUMENTED = """
import json
from functools import cache
from datasets import load_dataset
training_args = DPOConfig(
    output_dir=OUT, max_steps=3, logging_steps=1, per_device_train_batch_size=4, bf16=False, report_to=[],
    save_strategy="no",
)
dataset = load_dataset("json", data_files=DATA, split="train")
trainer = DPOTrainer(model=MODEL, args=training_args, train_dataset=dataset)
trainer.train()
"""


def test_a_script_of_trls_documentation_runs_unchanged(model_paths, preference_rows, tmp_path):
    """Model by name, no tokenizer, no reference: the same script with our two names logs the same metrics."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in preference_rows))
    histories = []
    for names in ({"DPOConfig": DPOConfig, "DPOTrainer": DPOTrainer},
                  {"DPOConfig": GatedDPOConfig, "DPOTrainer": GatedDPOTrainer}):  # fmt: skip
        scope = {**names, "OUT": str(tmp_path / "out"), "MODEL": model_paths["qwen"], "DATA": str(data)}
        exec(DOCUMENTED, scope)  # noqa: S102
        histories.append(scope["trainer"].state.log_history)
    for theirs, ours in zip(*histories, strict=True):
        assert {k: v for k, v in theirs.items() if "runtime" not in k and "per_second" not in k} == {
            k: v for k, v in ours.items() if "runtime" not in k and "per_second" not in k
        }


@pytest.mark.parametrize("setting", ["plain", "precomputed", "lora"])
def test_the_registered_dpo_is_trls_sigmoid_bit_for_bit(
    model_paths, tokenizer, preference_rows, tmp_path, stock, setting
):
    ours = train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, setting, loss="dpo")
    assert_same_bits(ours, stock(setting))


def test_every_logged_metric_is_trls(model_paths, tokenizer, preference_rows, tmp_path, stock):
    ours = train("ours", model_paths["llama"], tokenizer, preference_rows, tmp_path, steps=3)
    theirs = stock(family="llama", steps=3)
    timing = ("runtime", "per_second", "flos")
    for mine, other in zip(ours.state.log_history, theirs.state.log_history, strict=True):
        kept = {name: value for name, value in other.items() if not any(word in name for word in timing)}
        assert kept
        assert {name: mine[name] for name in kept} == kept
        assert mine.keys() == other.keys()


@pytest.mark.parametrize("gate", ["seq", "q10", "token", "shuffled", "constant"])
def test_gates_change_the_weights_and_log_themselves(model_paths, tokenizer, preference_rows, tmp_path, stock, gate):
    more = {
        "gate": gate,
        "gate_alpha": 2000.0,
        "gate_tau": "q50",
        "gate_of": "seq" if gate in ("shuffled", "constant") else None,
    }
    ours = train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, **more)
    theirs = stock()
    assert any(not torch.equal(a, b) for a, b in zip(weights(ours).values(), weights(theirs).values(), strict=True))
    first, other = ours.state.log_history[0], theirs.state.log_history[0]
    assert first["loss"] == other["loss"]  # the gate changes no value
    assert 0 < first["gate/mean"] < 1
    assert {"gate/closed", "gate/q05", "gate/q50", "gate/q95"} <= first.keys()


@pytest.mark.parametrize("probability", ["policy", "reference"])
def test_a_reference_gate_reads_the_reference(model_paths, tokenizer, preference_rows, tmp_path, probability):
    trainer = train(
        "ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, steps=4, learning_rate=3e-3,
        per_device_train_batch_size=16, gate="seq", gate_alpha=2000.0, gate_tau="q50", gate_probability=probability,
    )  # fmt: skip
    means = [entry["gate/mean"] for entry in trainer.state.log_history if "gate/mean" in entry]
    # every batch is the whole data set: under the reference its weights never change, under the policy they do
    same = means == pytest.approx([means[0]] * 4, abs=1e-5)
    assert same is (probability == "reference")


@pytest.mark.parametrize("family", ["neox", "llama", "qwen"])
@pytest.mark.parametrize("loss", ["dpo", "ipo", "cal_dpo", "dpo_shift", "sft"])
@pytest.mark.parametrize("gate", ["none", "seq"])
def test_other_layouts_give_the_same_losses(model_paths, tokenizer, preference_rows, tmp_path, family, loss, gate):
    def losses(layout):
        trainer = train(
            "ours", model_paths[family], tokenizer, preference_rows, tmp_path, "precomputed", steps=4, layout=layout,
            loss=loss, gate=gate, gate_alpha=200.0,
        )  # fmt: skip
        return torch.tensor([e["loss"] for e in trainer.state.log_history if "loss" in e])

    expected = losses("trl")
    for layout in ("one_row", "packed"):
        # Cal-DPO's squares make losses of 50, of which float32 holds no more than 4e-6
        torch.testing.assert_close(losses(layout), expected, atol=1e-4, rtol=5e-6 if loss == "cal_dpo" else 0)


def test_logits_that_are_not_kept_give_the_same_weights(model_paths, tokenizer, preference_rows, tmp_path, monkeypatch):
    def trained():
        # plain descent: Adam divides by a gradient's size, and of one near nought rounding would be a weight's step
        setting = {
            "steps": 4,
            "layout": "one_row",
            "gate": "seq",
            "gate_alpha": 200.0,
            "optim": "sgd",
            "learning_rate": 0.1,
        }
        return train("ours", model_paths["llama"], tokenizer, preference_rows, tmp_path, "precomputed", **setting)

    kept = trained()
    monkeypatch.setattr("gatebench.objectives.layout.trl_output.LOGITS_KEPT", 0)
    tiled = trained()
    for name, weight in weights(kept).items():
        torch.testing.assert_close(weights(tiled)[name], weight, atol=1e-5, rtol=1e-4)
    logged = ("entropy", "mean_token_accuracy", "logits/chosen")
    for one, other in zip(kept.state.log_history, tiled.state.log_history, strict=True):
        for name in logged:
            assert one.get(name) == pytest.approx(other.get(name), abs=1e-4)


def test_the_one_row_layout_works_with_lora_accumulation_and_checkpointing(
    model_paths, tokenizer, preference_rows, tmp_path
):
    for setting in ("lora", "accumulation", "checkpointing"):
        one = train("ours", model_paths["llama"], tokenizer, preference_rows, tmp_path, setting, layout="one_row")
        two = train("ours", model_paths["llama"], tokenizer, preference_rows, tmp_path, setting)
        for mine, other in zip(one.state.log_history, two.state.log_history, strict=True):
            for name in ("loss", "logps/chosen", "rewards/margins", "entropy", "mean_token_accuracy"):
                if name in other:
                    assert mine[name] == pytest.approx(other[name], abs=1e-3, rel=1e-3)


def test_registered_losses_work_without_precomputed_references(model_paths, tokenizer, preference_rows, tmp_path):
    rows = preference_rows
    live = train("ours", model_paths["neox"], tokenizer, rows, tmp_path, loss="cal_dpo")
    stored = train("ours", model_paths["neox"], tokenizer, rows, tmp_path, "precomputed", loss="cal_dpo")
    for mine, other in zip(live.state.log_history[:2], stored.state.log_history[:2], strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_a_chat_data_set_trains(model_paths, tokenizer, preference_rows, tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in preference_rows
    ]
    trainer = train("ours", model_paths["llama"], tokenizer, rows, tmp_path, gate="seq")
    assert trainer.state.global_step == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gate": "sequence"}, "unknown gate kind"),
        ({"layout": "onerow"}, "did you mean 'one_row'"),
        ({"loss": "caldpo"}, "did you mean 'cal_dpo'"),
        ({"loss": "dpo", "loss_parameters": {"betta": 1}}, "did you mean 'beta'"),
        ({"gate": "seq", "gate_side": "up"}, "unknown gate_side"),
    ],
)
def test_mistakes_are_named_when_the_config_is_made(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedDPOConfig(output_dir=str(tmp_path), use_cpu=True, **arguments)
    assert issubclass(UnknownWord, ValueError)


def test_trls_own_config_is_refused(model_paths, tokenizer, preference_rows, tmp_path):
    with pytest.raises(TypeError, match="GatedDPOConfig"):
        GatedDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths["neox"]),
            args=DPOConfig(output_dir=str(tmp_path), use_cpu=True),
            train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer,
        )  # fmt: skip


def test_stored_reference_tokens_stand_for_the_reference_model(model_paths, tokenizer, preference_rows, tmp_path):
    """A reference gate with precomputed references, as the harness trains it, gives the live reference's weights."""
    more = {"gate": "q10", "gate_alpha": 2000.0, "gate_tau": "q50", "gate_probability": "reference"}
    live = train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, steps=3, **more)
    rows = list(live.train_dataset)
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row["prompt_ids"] + row["rejected_ids"]])
            log_p = live.ref_model(input_ids=ids).logits[0].float().log_softmax(dim=-1)
            start = len(row["prompt_ids"])
            row["ref_rejected_token_logps"] = [
                log_p[start + i - 1, token].item() for i, token in enumerate(row["rejected_ids"])
            ]
            row["ref_rejected_logps"] = sum(row["ref_rejected_token_logps"])
            ids = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
            log_p = live.ref_model(input_ids=ids).logits[0].float().log_softmax(dim=-1)
            row["ref_chosen_logps"] = sum(
                log_p[start + i - 1, token].item() for i, token in enumerate(row["chosen_ids"])
            )
    stored = train("ours", model_paths["neox"], tokenizer, rows, tmp_path, "precomputed", steps=3, **more)
    for mine, other in zip(stored.state.log_history[:3], live.state.log_history[:3], strict=True):
        for name in ("loss", "gate/mean", "gate/q95"):
            assert mine[name] == pytest.approx(other[name], rel=1e-3)
