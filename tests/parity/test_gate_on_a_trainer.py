"""A gate put on a trainer that is there already, and on classes that others derive from TRL's."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from trl import DPOConfig, DPOTrainer

import gatebench
from gatebench.objectives.gates import Gate
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer, GateMixin, gate
from tests.parity.test_trainer import assert_same_bits


class Scaled(DPOTrainer):
    """Somebody's own trainer: a constructor of its own, and a loss that builds on TRL's."""

    def __init__(self, *arguments, factor=1.0, **keywords):
        super().__init__(*arguments, **keywords)
        self.factor = factor

    def _compute_loss(self, model, inputs, return_outputs):
        return self.factor * super()._compute_loss(model, inputs, return_outputs)


class OnItsOwn(DPOTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss


@pytest.fixture
def make(model_paths, tokenizer, preference_rows, tmp_path):
    def made(trainer, config=DPOConfig, more=None, **arguments):
        return trainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]),
            args=config(
                str(tmp_path / trainer.__name__), per_device_train_batch_size=4, learning_rate=1e-2, max_steps=2,
                logging_steps=1, gradient_checkpointing=False, bf16=False, report_to=[], save_strategy="no",
                use_cpu=True, disable_tqdm=True, max_length=64, **arguments,
            ),
            train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer, **more or {},
        )  # fmt: skip

    return made


def test_a_gate_on_a_trainer_is_that_of_the_gated_trainer(make):
    ours = make(GatedDPOTrainer, GatedDPOConfig, gate="seq", gate_alpha="5/tau", gate_tau="q30")
    theirs = make(DPOTrainer)
    assert gate(theirs, "seq", alpha="5/tau", tau="q30") is theirs
    assert isinstance(theirs, DPOTrainer)
    assert type(theirs).__name__ == "GatedDPOTrainer"
    for trainer in (ours, theirs):
        trainer.train()
    assert_same_bits(ours, theirs)
    assert ours.state.log_history[0]["gate/mean"] == theirs.state.log_history[0]["gate/mean"]
    assert type(theirs.args) is DPOConfig
    assert gatebench.gate is gate


def test_an_open_gate_on_somebodys_trainer_changes_no_bit(make):
    gated, alone = (make(Scaled, more={"factor": 0.5}) for _ in range(2))
    gate(gated, "seq", alpha=1e30, tau=0.0)
    for trainer in (gated, alone):
        trainer.train()
    assert_same_bits(gated, alone)
    plain = make(Scaled)
    plain.train()
    assert plain.state.log_history[0]["loss"] == pytest.approx(2 * gated.state.log_history[0]["loss"], rel=1e-6)


def test_a_mixin_makes_a_gated_class_of_somebodys(make):
    class Gated(GateMixin, Scaled):
        pass

    ours = make(Gated, GatedDPOConfig, {"factor": 0.5}, gate="seq")
    theirs = make(Scaled, more={"factor": 0.5})
    gate(theirs, "seq")
    for trainer in (ours, theirs):
        trainer.train()
    assert_same_bits(ours, theirs)
    with pytest.raises(TypeError, match=r"Gated needs args=GatedDPOConfig\(...\), not TRL's DPOConfig"):
        make(Gated)


def test_a_gate_scales_the_rejected_gradient_alone(make):
    """To a quarter at 0.25; the loss and the gradient of the chosen half are as before."""
    found = []
    for value in (1.0, 0.25, 0.0):
        trainer = gate(make(DPOTrainer), "constant", value=value)
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        trainer.model.train()
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        found.append((loss, trainer.model.get_input_embeddings().weight.grad.double()))
    (whole, both), (same, quarter), (_, chosen) = found
    assert torch.equal(whole, same)
    torch.testing.assert_close(quarter, chosen + 0.25 * (both - chosen), atol=1e-7, rtol=1e-4)
    assert (both - chosen).abs().max() > 1e-3


def test_a_loss_that_goes_past_trls_is_refused_in_the_first_step(make):
    with pytest.raises(
        RuntimeError, match=r"computes its loss without DPOTrainer._compute_loss, so that gate seq does"
    ):
        gate(make(OnItsOwn), "seq", tau=0.1).train()
    ungated = gate(make(OnItsOwn), "none")
    ungated.train()


def test_what_can_have_no_gate_is_refused(make, model_paths, tmp_path):
    gated = gate(make(DPOTrainer), "seq")
    with pytest.raises(ValueError, match="this GatedDPOTrainer has gate seq already"):
        gate(gated, "token")
    with pytest.raises(ValueError, match="tau 50 is not a probability"):
        gate(make(DPOTrainer), "seq", tau=50)
    other = Trainer(
        AutoModelForCausalLM.from_pretrained(model_paths["llama"]), TrainingArguments(str(tmp_path), use_cpu=True)
    )
    with pytest.raises(TypeError, match="a gate goes on TRL's DPOTrainer or a class derived from it, not on Trainer"):
        gate(other)


def test_processes_that_share_a_response_out_are_refused(make, monkeypatch):
    """Tensor, context and sequence parallelism; each needs several devices, so the plan of them alone is real here."""
    from accelerate import Accelerator
    from accelerate.parallelism_config import ParallelismConfig

    trainer = make(DPOTrainer)
    monkeypatch.setattr(Accelerator, "parallelism_config", ParallelismConfig(tp_size=2), raising=False)
    with pytest.raises(ValueError, match="needs whole responses on every process"):
        gate(trainer, "seq")


def test_a_control_takes_a_gate(make):
    trainer = gate(make(DPOTrainer), "shuffled", of=Gate("seq", "5/tau", "q50"))
    trainer.train()
    assert trainer.gate.of.is_resolved
    assert "gate/tau" in trainer.state.log_history[0]
