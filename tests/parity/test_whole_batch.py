"""Losses that take something of the effective batch and of former steps: any cut is one, and they resume."""

import json

import pytest
import torch

from gatebench.objectives.trl.whole_batch import LOSS_KEPT
from tests.parity.processes import trained_on
from tests.parity.test_cuts import STEP, assert_close_weights, cut
from tests.parity.test_trainer import assert_same_bits, resumed, train, weights

LOSSES = {
    "alpha_dpo": {"loss": "alpha_dpo", "loss_parameters": {"alpha": 0.5}},
    "beta_dpo": {"loss": "beta_dpo", "loss_parameters": {"a": 20.0, "keep": 0.6}, "learning_rate": 0.1},
    "a mix, gated": {
        "loss": {"beta_dpo": 1, "nll": 0.3},
        "gate": "seq",
        "gate_alpha": 2000.0,
        "gate_tau": 5e-4,
        "learning_rate": 0.1,
    },
    "alpha_dpo, clamped": {
        "loss": "alpha_dpo",
        "loss_parameters": {"alpha": 1.0},
        "gate": "humanline",
        "gate_band": [-0.05, 0.05],
        "learning_rate": 0.1,
    },
    "one row": {"loss": "alpha_dpo", "layout": "one_row"},
    "stored reference": {"loss": "alpha_dpo", "precompute_ref_log_probs": True},
}


@pytest.fixture
def trained(model_paths, tokenizer, preference_rows, tmp_path):
    def run(rows=16, steps=3, **arguments):
        return train(
            "ours", model_paths["llama"], tokenizer, preference_rows[:rows], tmp_path, steps=steps, **STEP | arguments
        )

    return run


@pytest.mark.parametrize("case", LOSSES)
def test_micro_batches_of_1_2_and_8_give_the_same_weights(trained, case):
    """13 pairs: the second batch has five, which micro-batches of two cut into 2, 2 and 1."""
    whole = trained(rows=13, **LOSSES[case], **cut(8))
    for micro in (1, 2):
        parts = trained(rows=13, **LOSSES[case], **cut(micro))
        assert_close_weights(parts, whole)
        kept = parts.state.stateful_callbacks[LOSS_KEPT]
        assert len(kept) == 2
        assert kept == pytest.approx(whole.state.stateful_callbacks[LOSS_KEPT], rel=1e-3, abs=1e-5)


def test_two_processes_give_what_one_does(model_paths, preference_rows, tmp_path):
    cases = {name.replace(" ", "_"): LOSSES[name] for name in ("alpha_dpo", "beta_dpo")}
    found = [
        trained_on(processes, model_paths["llama"], preference_rows[:16], {
            name: {**arguments, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4 // processes}
            for name, arguments in cases.items()
        }, tmp_path / str(processes))
        for processes in (1, 2)
    ]  # fmt: skip
    for name in cases:
        (one,), two = found[0][name], found[1][name]
        for part in two:
            for weight, expected in one["weights"].items():
                torch.testing.assert_close(part["weights"][weight], expected, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["alpha_dpo", "beta_dpo"])
def test_a_training_resumes_to_the_bit_with_what_its_loss_kept(trained, model_paths, tmp_path, name):
    arguments = {**LOSSES[name], **cut(2, batch=4), "save_strategy": "steps", "save_steps": 2}
    whole = trained(**arguments, steps=5)
    point = tmp_path / "ours" / "checkpoint-2"

    assert_same_bits(resumed(whole, model_paths["llama"], point), whole)
    state = json.loads((point / "trainer_state.json").read_text())
    assert len(state["stateful_callbacks"].pop(LOSS_KEPT)) == 2
    (point / "trainer_state.json").write_text(json.dumps(state))
    other = resumed(whole, model_paths["llama"], point)
    assert any(not torch.equal(a, b) for a, b in zip(weights(other).values(), weights(whole).values(), strict=True))


def test_an_evaluation_leaves_nothing_behind(trained):
    trainer = trained(**LOSSES["alpha_dpo"], **cut(4, batch=4))
    kept = list(trainer.state.stateful_callbacks[LOSS_KEPT])
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] > 0
    assert trainer.state.stateful_callbacks[LOSS_KEPT] == kept
