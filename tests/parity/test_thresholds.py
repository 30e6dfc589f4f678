"""Where a percentile tau comes from: which policy, which pairs, and where it is written down."""

import json
import logging

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, set_seed

from gatebench.objectives import gates
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from gatebench.objectives.trl.thresholds import STREAM_MEASURED, THRESHOLDS_KEPT
from tests.parity.test_trainer import assert_same_bits

SEQ = {"gate": "seq", "gate_alpha": "5/tau", "gate_tau": "q50"}


@pytest.fixture
def make(model_paths, tokenizer, preference_rows, tmp_path):
    """A trainer on sixteen pairs that has not begun."""

    def made(rows=None, model="llama", trainer=GatedDPOTrainer, ref_model=None, peft_config=None, eval_dataset=None,
             **arguments):  # fmt: skip
        settings = {
            "per_device_train_batch_size": 4, "learning_rate": 1e-2, "max_steps": 2, "logging_steps": 1, "seed": 1,
            "gradient_checkpointing": False, "bf16": False, "report_to": [], "save_strategy": "no", "use_cpu": True,
            "disable_tqdm": True, "max_length": 64,
        }  # fmt: skip
        policy = AutoModelForCausalLM.from_pretrained(model_paths[model]) if isinstance(model, str) else model
        return trainer(
            model=policy, ref_model=ref_model, args=GatedDPOConfig(str(tmp_path / "out"), **settings | arguments),
            train_dataset=rows or Dataset.from_list(preference_rows), processing_class=tokenizer,
            peft_config=peft_config, eval_dataset=eval_dataset,
        )  # fmt: skip

    return made


def rejected(trainer, model, kind="seq"):
    """p of every rejected response of the data, one row at a time, by plain transformers."""
    found = []
    for row in trainer.train_dataset:
        prompt, tokens = row["prompt_ids"], row["rejected_ids"][: 64 - len(row["prompt_ids"])]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        log_probs = logits.log_softmax(dim=-1).gather(1, torch.tensor(tokens)[:, None]).T
        found.append(gates.counted_probabilities(kind, log_probs, torch.ones_like(log_probs)))
    return torch.cat(found)


@pytest.mark.parametrize("kind", ["seq", "q10", "token"])
def test_it_is_the_quantile_over_all_pairs(make, kind):
    trainer = make(**SEQ | {"gate": kind, "gate_tau": "q30"})
    expected = torch.quantile(rejected(trainer, trainer.model, kind), 0.3).item()
    trainer.train()
    assert trainer.gate.tau == pytest.approx(expected, rel=1e-5)
    assert trainer.gate.alpha == pytest.approx(5 / expected, rel=1e-5)


def test_it_is_the_references_where_the_gate_reads_the_reference(make, model_paths):
    set_seed(3)
    other = AutoModelForCausalLM.from_pretrained(model_paths["llama"])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    trainer = make(ref_model=other, **SEQ, gate_probability="reference")
    of_reference, of_policy = (rejected(trainer, model).median().item() for model in (other, trainer.model))
    trainer.resolve_gate()
    assert trainer.gate.tau == pytest.approx(torch.quantile(rejected(trainer, other), 0.5).item(), rel=1e-5)
    assert abs(of_reference - of_policy) > 0.01 * of_policy


def test_measuring_draws_nothing_and_leaves_the_model_as_it_was(make):
    trainer = make(**SEQ)
    trainer.model.train()
    state = torch.random.get_rng_state()
    trainer.resolve_gate()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training for module in trainer.model.modules())


def test_a_dropout_is_drawn_as_without_a_measurement(make):
    """Adapters with dropout: a percentile and its number train the same weights."""
    adapter = LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM")
    measured = make(**SEQ, disable_dropout=False, peft_config=adapter)
    measured.train()
    numbers = {"gate": "seq", "gate_alpha": measured.gate.alpha, "gate_tau": measured.gate.tau}
    given = make(**numbers, disable_dropout=False, peft_config=adapter)
    given.train()
    assert_same_bits(measured, given)


def test_an_endless_stream_is_measured_on_its_first_pairs_and_says_so(make, preference_rows, monkeypatch, caplog):
    monkeypatch.setattr("gatebench.objectives.trl.thresholds.STREAM_MEASURED", 8)

    def endless():
        while True:
            yield from preference_rows

    from datasets import IterableDataset

    trainer = make(IterableDataset.from_generator(endless), **SEQ)
    whole = make(Dataset.from_list(preference_rows[:8]), **SEQ)
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        trainer.train()
    whole.resolve_gate()
    assert trainer.gate == whole.gate
    said = [record.getMessage() for record in caplog.records if "stream" in record.getMessage()]
    assert said == ["gate_tau: the data are a stream, so its percentile is measured on the first 8 pairs of it"]
    assert STREAM_MEASURED >= 1000


def test_more_numbers_than_torch_takes_a_quantile_of():
    values = torch.linspace(0, 1, 2**24 + 9)
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(values, 0.25)
    assert gates.quantiles(values.flip(0), (0.0, 0.25, 1.0)) == pytest.approx([0.0, 0.25, 1.0], abs=1e-6)


def test_quantiles_are_torchs_where_it_has_them():
    values = torch.rand(1001, generator=torch.Generator().manual_seed(0)) ** 3
    levels = [0.0, 0.05, 0.333, 0.5, 0.95, 1.0]
    expected = torch.quantile(values, torch.tensor(levels)).tolist()
    mixed = torch.cat([values, torch.full((7,), torch.nan)])
    assert gates.quantiles(mixed, levels) == pytest.approx(expected, rel=1e-5)


def test_data_that_give_no_probability_are_refused(make):
    trainer = make(**SEQ)
    with torch.no_grad():
        trainer.model.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="gate seq: tau q50 cannot be measured, as no rejected response has a prob"):
        trainer.train()


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_an_evaluation_before_the_training_needs_no_threshold(make, preference_rows, method):
    held_out = Dataset.from_list(preference_rows[:8])
    trainer, ungated = (make(**gate, eval_dataset=held_out) for gate in (SEQ, {}))

    def evaluated(trainer):
        done = trainer.evaluate() if method == "evaluate" else trainer.predict(trainer.eval_dataset).metrics
        return {name: value for name, value in done.items() if "runtime" not in name and "per_second" not in name}

    assert evaluated(trainer) == evaluated(ungated)
    assert not trainer.gate.is_resolved
    trainer.train()
    assert "eval_gate/mean" in trainer.evaluate() | trainer.state.log_history[-1]


def test_a_loop_of_ones_own_is_gated(make):
    trainer = make(**SEQ)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    gated, open_ = {}, make(gate="none")
    for own, found in ((trainer, gated), (open_, open_.__dict__.setdefault("found", {}))):
        own.model.train()
        own.compute_loss(own.model, own._prepare_inputs(dict(batch))).backward()
        found.update({name: parameter.grad for name, parameter in own.model.named_parameters()})
    assert trainer.gate.is_resolved
    assert any(not torch.equal(gated[name], open_.found[name]) for name in gated)


def test_what_was_measured_is_in_the_log_the_checkpoint_and_the_card(make, tmp_path):
    trainer = make(**SEQ, save_strategy="steps", save_steps=1)
    trainer.train()
    tau, alpha = trainer.gate.tau, trainer.gate.alpha
    first = trainer.state.log_history[0]
    assert (first["gate/tau"], first["gate/alpha"]) == (tau, alpha)
    state = json.loads((tmp_path / "out" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["stateful_callbacks"][THRESHOLDS_KEPT] == {"tau": tau, "alpha": alpha}
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"alpha {alpha:.6g} (5/tau), tau {tau:.6g} (q50), side both" in card


def test_a_resumed_training_takes_the_threshold_of_its_checkpoint(make, model_paths, tmp_path, caplog):
    whole = make(**SEQ, save_strategy="steps", save_steps=1)
    whole.train()
    point = tmp_path / "out" / "checkpoint-1"
    moved = AutoModelForCausalLM.from_pretrained(point)  # as a script that starts from where it was
    resumed = make(
        model=moved, ref_model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]), **SEQ,
        restore_callback_states_from_checkpoint=True,
    )  # fmt: skip
    resumed.train(resume_from_checkpoint=str(point))
    assert resumed.gate == whole.gate
    assert_same_bits(resumed, whole)
    state = json.loads((point / "trainer_state.json").read_text())
    del state["stateful_callbacks"][THRESHOLDS_KEPT]
    (point / "trainer_state.json").write_text(json.dumps(state))
    unaware = make(**SEQ, save_strategy="steps", save_steps=1)
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        unaware.train(resume_from_checkpoint=str(point))  # and saves its own checkpoint all the same
    assert "gate_tau q50: the checkpoint does not say what it is, so it is measured on the policy after step 1" in (
        caplog.text
    )


def test_stored_references_without_tokens_are_refused_before_a_step(make):
    with pytest.raises(ValueError, match="gate_probability='reference' needs the reference model"):
        make(**SEQ, gate_probability="reference", precompute_ref_log_probs=True)


def test_the_quantiles_of_a_line_are_those_of_all_its_batches(make, monkeypatch):
    from gatebench.objectives.trl.weight_log import WeightLog

    seen, add = [], WeightLog.add
    monkeypatch.setattr(WeightLog, "add", lambda self, mode, g: (seen.append(g.flatten()), add(self, mode, g))[1])
    trainer = make(**SEQ, logging_steps=2, per_device_train_batch_size=2, gradient_accumulation_steps=2, max_steps=2)
    trainer.train()
    (line,) = [entry for entry in trainer.state.log_history if "gate/q05" in entry]
    assert len(seen) == 4
    every = torch.cat(seen)
    assert line["gate/q05"] == pytest.approx(torch.quantile(every, 0.05).item(), rel=1e-5)
    of_each = sum(torch.quantile(g, 0.05).item() for g in seen) / 4
    assert abs(line["gate/q05"] - of_each) > 1e-3
