"""The callback that only measures: right numbers, in every trainer, and no bit of the training changed."""

import gc
import gzip
import json
import logging
from statistics import fmean

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from gatebench import SqueezingCallback
from gatebench.objectives.trl import gate, probes
from gatebench.objectives.trl.squeezing import PROBES_KEPT
from tests.needs import SHARED
from tests.parity.processes import SETTINGS
from tests.parity.test_trainer import assert_same_bits

ADAPTER = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")

DROPOUT = LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM")


class Tracker(TrainerCallback):
    """A tracker as trainers put it first: what it is handed of every line."""

    def __init__(self):
        self.lines = []

    def on_log(self, args, state, control, logs=None, **_):
        self.lines.append(dict(logs))


@pytest.fixture
def make(model_paths, tokenizer, preference_rows, tmp_path):
    def made(*callbacks, trainer=DPOTrainer, config=DPOConfig, rows=None, peft_config=None, model="llama", **arguments):
        torch.manual_seed(0)
        return trainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths[model]),
            args=config(str(tmp_path / "out"), per_device_train_batch_size=4, **SETTINGS | arguments),
            train_dataset=Dataset.from_list(rows or preference_rows), processing_class=tokenizer,
            callbacks=list(callbacks), peft_config=peft_config,
        )  # fmt: skip

    return made


def by_hand(model, tokenizer, prompt, response, room=64):
    """Log-prob of a response and of the most likely tokens along it, with its end token, one row at a time."""
    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor([[*tokenizer(prompt + response)["input_ids"], tokenizer.eos_token_id]])[:, :room]
    with torch.no_grad():
        log_p = model.eval()(input_ids=ids).logits[0, start - 1 : -1].log_softmax(dim=-1)
    return log_p.gather(1, ids[0, start:, None]).sum().item(), log_p.max(dim=-1).values.sum().item()


@pytest.mark.parametrize("given", ["rows", "nothing"])
def test_the_numbers_are_those_of_plain_transformers(make, tokenizer, model_paths, preference_rows, given):
    probes = preference_rows[:6]
    callback = SqueezingCallback(probes, every=1) if given == "rows" else SqueezingCallback(every=1)
    trainer = make(callback, rows=None if given == "rows" else probes)
    start = AutoModelForCausalLM.from_pretrained(model_paths["llama"])
    trainer.train()
    last = [entry for entry in trainer.state.log_history if "loss" in entry][-1]

    def mean(model, which, response):
        return (
            sum(by_hand(model, tokenizer, row["prompt"], response(i, row))[which] for i, row in enumerate(probes)) / 6
        )

    quantities = {
        "chosen": (0, lambda i, row: row["chosen"]),
        "rejected": (0, lambda i, row: row["rejected"]),
        "unrelated": (0, lambda i, row: probes[(i + 1) % 6]["chosen"]),
        "argmax": (1, lambda i, row: row["chosen"]),
    }
    for name, (which, response) in quantities.items():
        before, after = mean(start, which, response), mean(trainer.model, which, response)
        assert last[f"squeezing/{name}"] == pytest.approx(after, abs=1e-3)
        assert last[f"squeezing/delta_{name}"] == pytest.approx(after - before, abs=1e-3)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gradient_checkpointing": True},
        {"bf16": True},
        {"peft_config": ADAPTER},
        {"peft_config": DROPOUT, "disable_dropout": False},
    ],
    ids=["plain", "checkpointing", "bf16", "adapter", "dropout"],
)
def test_no_bit_of_the_training_changes(make, more):
    trained = []
    for callbacks in ([SqueezingCallback(every=1)], []):
        trainer = make(*callbacks, **more)  # which sets the seed that a dropout draws from
        trainer.train()
        trained.append(trainer)
    watched, alone = trained
    assert_same_bits(watched, alone)
    assert "squeezing/delta_chosen" in watched.state.log_history[0]


@pytest.fixture
def frozen():
    """What is there is out of the garbage collector's sight, as scripts do before they fork."""
    yield gc.freeze
    gc.unfreeze()


@pytest.mark.parametrize("frozen_first", [False, True])
def test_a_tracker_that_stands_before_it_is_handed_the_same_line(make, frozen, frozen_first):
    tracker = Tracker()
    trainer = make(tracker, SqueezingCallback(every=1))
    if frozen_first:
        frozen()
    trainer.train()
    (first, *_), history = tracker.lines, trainer.state.log_history
    assert first["squeezing/delta_rejected"] == history[0]["squeezing/delta_rejected"]
    assert {name for name in first if name.startswith("squeezing/")} == {
        name for name in history[0] if name.startswith("squeezing/")
    }


def test_what_the_loss_pushes_down_goes_down_and_a_shut_gate_keeps_it(make):
    found = []
    for shut in (False, True):
        trainer = make(SqueezingCallback(), optim="adamw_torch", learning_rate=1e-3, max_steps=30, num_train_epochs=9)
        if shut:
            gate(trainer, "constant", value=0.0)
        trainer.train()
        found.append(trainer.state.log_history[-1]["squeezing/delta_rejected"])
    assert found[0] < -2
    assert found[1] > found[0] + 2


def test_long_rows_of_a_large_vocabulary_are_read_fewer_at_once(make, monkeypatch, capfd):
    """TRL's training makes no logits; a measurement makes no more than its bound, and shows that it is at work."""
    found = []
    for rows_of_logits in (8, 2):
        shapes = []
        trainer = make(SqueezingCallback(every=1), learning_rate=0.0, max_steps=1, disable_tqdm=rows_of_logits == 8)
        vocabulary = trainer.model.config.vocab_size
        monkeypatch.setattr(probes, "LOGITS_AT_ONCE", rows_of_logits * 40 * vocabulary)
        monkeypatch.setattr(probes, "BAR_AFTER", 0)
        trainer.model.register_forward_hook(
            lambda model, given, made, into=shapes: None if model.training else into.append(made.logits.shape)
        )
        trainer.train()
        assert all(rows * width <= rows_of_logits * 40 for rows, width, _ in shapes)
        found.append((trainer.state.log_history[0]["squeezing/argmax"], max(rows for rows, *_ in shapes)))
        assert ("squeezing: probes" in capfd.readouterr().err) == (rows_of_logits == 2)
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-4)
    assert found[1][1] < found[0][1] == 8


def test_how_often(make):
    trainer = make(SqueezingCallback(), max_steps=40, num_train_epochs=10)
    trainer.train()
    measured = [entry["step"] for entry in trainer.state.log_history if "squeezing/chosen" in entry]
    assert measured == [*range(2, 41, 2), 40]  # the last in its line and in that of the end
    trainer = make(SqueezingCallback(every=3), max_steps=7, num_train_epochs=10, logging_steps=2)
    trainer.train()
    steps = [entry["step"] for entry in trainer.state.log_history if "squeezing/chosen" in entry]
    assert list(dict.fromkeys(steps)) == [4, 6, 7]  # the first lines at or after 3 and 6, and the end


def test_a_resumed_training_counts_from_before_the_first_step(make, tmp_path, caplog):
    whole = make(SqueezingCallback(every=1), save_strategy="steps", save_steps=1)
    whole.train()
    point = tmp_path / "out" / "checkpoint-2"
    resumed = make(SqueezingCallback(every=1), restore_callback_states_from_checkpoint=True)
    resumed.train(resume_from_checkpoint=str(point))
    name = "squeezing/delta_chosen"
    assert resumed.state.log_history[-1][name] == pytest.approx(whole.state.log_history[-1][name], abs=1e-6)
    state = json.loads((point / "trainer_state.json").read_text())
    del state["stateful_callbacks"][PROBES_KEPT]
    (point / "trainer_state.json").write_text(json.dumps(state))
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        make(SqueezingCallback(every=1), save_strategy="steps", save_steps=1).train(resume_from_checkpoint=str(point))
    assert "squeezing: the checkpoint has no measurement of these probes; changes are since step 2" in caplog.text


@pytest.mark.parametrize("rows", [slice(8, 16), slice(0, 12)], ids=["others", "more"])
def test_other_probes_than_the_checkpoints_are_counted_from_where_they_are(
    make, preference_rows, tmp_path, caplog, rows
):
    """Row by row they would be compared with other responses."""
    make(SqueezingCallback(preference_rows[:8], every=1), save_strategy="steps", save_steps=1).train()
    resumed = make(SqueezingCallback(preference_rows[rows], every=1), learning_rate=0.0)
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert "the checkpoint has no measurement of these probes; changes are since step 2" in caplog.text
    assert abs(resumed.state.log_history[-1]["squeezing/delta_chosen"]) < 5


def test_supervised_fine_tuning_is_measured_too(make, preference_rows):
    texts = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in preference_rows]
    trainer = make(
        SqueezingCallback(preference_rows[:4]), trainer=SFTTrainer, config=SFTConfig, rows=texts, max_steps=6,
        learning_rate=1e-1,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.log_history[-1]["squeezing/delta_chosen"] > 0
    with pytest.raises(
        ValueError, match="the training data are no table of tokenized pairs, so probes have to be given"
    ):
        make(SqueezingCallback(), trainer=SFTTrainer, config=SFTConfig, rows=texts).train()


def test_virtual_tokens_are_read(make, preference_rows):
    """What an adapter puts before a row is before it here too: the log-probs are those that TRL logs."""
    tuning = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    trainer = make(SqueezingCallback(every=1), peft_config=tuning, rows=preference_rows[:4], learning_rate=0.0)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["squeezing/chosen"] == pytest.approx(first["logps/chosen"], abs=1e-3)
    assert first["squeezing/rejected"] == pytest.approx(first["logps/rejected"], abs=1e-3)


@pytest.mark.hh
def test_probes_of_real_pairs(make, tokenizer, model_paths):
    """Each with an unrelated response of its own; what the loss pushes down falls most."""
    with gzip.open(SHARED / "data" / "hh_probes_train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if len(tokenizer(row["prompt"])["input_ids"]) < 64][:6]
    probed = [
        {name: row[name] for name in ("prompt", "chosen", "rejected")} | {"unrelated": row["irr_hum"]} for row in rows
    ]
    pairs = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in probed]
    trainer = make(
        SqueezingCallback(probed), rows=pairs, optim="adamw_torch", learning_rate=1e-3, max_steps=12, max_length=128
    )
    start = AutoModelForCausalLM.from_pretrained(model_paths["llama"])
    trainer.train()
    last = trainer.state.log_history[-1]
    for model, sign in ((start, -1), (trainer.model, 0)):
        own = fmean(by_hand(model, tokenizer, row["prompt"], row["unrelated"], 128)[0] for row in probed)
        assert last["squeezing/unrelated"] + sign * last["squeezing/delta_unrelated"] == pytest.approx(own, abs=1e-2)
    assert last["squeezing/delta_rejected"] < min(-2, last["squeezing/delta_chosen"], last["squeezing/delta_unrelated"])
