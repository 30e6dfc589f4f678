"""A loss that reads no reference: none is loaded, computed or asked for, unless the gate reads one."""

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM

from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from tests.parity.test_trainer import assert_same_bits, train

FREE = {"simpo": {}, "cpo": {}, "orpo": {}, "slic": {}, "sft": {}, "simpo+0.5*nll": {"beta": 1.5}}


@pytest.mark.parametrize("layout", ["trl", "one_row"])
@pytest.mark.parametrize("loss", FREE)
def test_no_reference_model_is_loaded_and_the_weights_are_those_with_one(
    model_paths, tokenizer, preference_rows, tmp_path, monkeypatch, loss, layout
):
    def run(**more):
        return train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, loss=loss,
                     loss_parameters=FREE[loss], layout=layout, **more)  # fmt: skip

    with monkeypatch.context() as patched:
        for name in ("create_model_from_path", "hash_module"):
            patched.setattr(f"trl.trainer.dpo_trainer.{name}", lambda *_, name=name, **__: name)
        patched.setattr(GatedDPOTrainer, "compute_ref_log_probs", None)
        without = run()
    assert without.ref_model is None
    assert "ref_chosen_logps" not in without.train_dataset.column_names
    reading = run(gate="seq", gate_alpha=1e30, gate_tau=0.0, gate_probability="reference")
    assert reading.ref_model is not None
    assert_same_bits(without, reading)


def test_it_evaluates_data_that_come_after_the_training(model_paths, tokenizer, preference_rows, tmp_path):
    trainer = train("ours", model_paths["neox"], tokenizer, preference_rows, tmp_path, loss="simpo")
    assert trainer.evaluate(Dataset.from_list(preference_rows[:4]))["eval_loss"] > 0


def test_a_loss_that_reads_one_still_loads_it(model_paths, tokenizer, preference_rows, tmp_path):
    for loss in ("dpo", "simpo+0.1*dpo"):
        arguments = GatedDPOConfig(str(tmp_path), loss=loss, use_cpu=True, bf16=False, report_to=[])
        trainer = GatedDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths["neox"]), args=arguments,
            train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer,
        )  # fmt: skip
        assert trainer.ref_model is not None


def test_a_synced_reference_that_nothing_reads_is_refused(tmp_path):
    with pytest.raises(ValueError, match="loss simpo reads no reference, so sync_ref_model=True would not act"):
        GatedDPOConfig(str(tmp_path), loss="simpo", sync_ref_model=True, use_cpu=True, bf16=False)


def test_a_mix_is_written_as_in_a_suite(tmp_path):
    written = [{"dpo": 1, "nll": 0.2}, "dpo+0.2*nll"]
    found = [
        GatedDPOConfig(str(tmp_path), loss=loss, loss_parameters={"dpo": {"beta": 0.3}}, use_cpu=True, bf16=False)
        for loss in written
    ]
    assert [(config.loss, config.beta) for config in found] == [("dpo+0.2*nll", 0.3)] * 2
    assert found[0].to_gating() == found[1].to_gating()
