"""The cut of an effective batch into micro-batches and processes changes neither a control nor a loss of ours."""

import logging

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from gatebench.objectives.controls import MIN_FIELD
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from gatebench.objectives.trl.mixin import RECENT_WEIGHTS
from gatebench.objectives.trl.weight_log import WeightLog
from tests.parity.processes import trained_on
from tests.parity.test_trainer import assert_same_bits, resumed, train, weights

SEQ = {"gate": "seq", "gate_alpha": "5/tau", "gate_tau": "q50"}
CONTROLS = {
    "constant of seq": {**SEQ, "gate": "constant", "gate_of": "seq"},
    "shuffled of seq": {**SEQ, "gate": "shuffled", "gate_of": "seq"},
    "constant of token": {**SEQ, "gate": "constant", "gate_of": "token"},
    "shuffled of token": {**SEQ, "gate": "shuffled", "gate_of": "token"},
    "shuffled of the reference's": {**SEQ, "gate": "shuffled", "gate_of": "q50", "gate_probability": "reference"},
    "shuffled, one row": {**SEQ, "gate": "shuffled", "gate_of": "seq", "layout": "one_row"},
}
STEP = {"learning_rate": 1e-2, "optim": "sgd", "warmup_steps": 0, "max_grad_norm": 0.0}  # Adam divides by rounding


def cut(micro, batch=8):
    return {"per_device_train_batch_size": micro, "gradient_accumulation_steps": batch // micro}


@pytest.fixture
def trained(model_paths, tokenizer, preference_rows, tmp_path, monkeypatch):
    """A short training and the weights of its gate, in the order of the pairs."""

    def run(rows=16, family="llama", **arguments):
        seen = []
        add = WeightLog.add
        monkeypatch.setattr(
            WeightLog, "add", lambda self, mode, g: (seen.append(g[~g.isnan()].flatten()), add(self, mode, g))[1]
        )
        trainer = train(
            "ours",
            model_paths[family],
            tokenizer,
            preference_rows[:rows],
            tmp_path,
            **{"steps": 3, **STEP, **arguments},
        )
        monkeypatch.undo()
        return trainer, torch.cat(seen) if seen else torch.zeros(0)

    return run


def assert_close_weights(one, other):
    for name, weight in weights(other).items():
        torch.testing.assert_close(weights(one)[name], weight, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("control", CONTROLS)
def test_micro_batches_of_1_2_and_8_give_a_control_the_same_weights(trained, control):
    whole, expected = trained(**CONTROLS[control], **cut(8))
    assert "reference" in control or len(expected.unique()) > 2
    for micro in (1, 2):
        parts, found = trained(**CONTROLS[control], **cut(micro))
        # a control of tokens that is a constant is logged a pair, one that is shuffled a token
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert_close_weights(parts, whole)


@pytest.mark.parametrize("control", ["constant of seq", "shuffled of seq"])
def test_a_control_at_micro_batch_1_is_not_its_gate(trained, control):
    _, gate = trained(**SEQ, **cut(1))
    _, found = trained(**CONTROLS[control], **cut(1))
    assert len(found) == len(gate) == 24
    assert not torch.allclose(found[:8], gate[:8], atol=1e-3)
    assert found[:8].mean().item() == pytest.approx(gate[:8].mean().item(), abs=1e-5)


def test_a_batch_taken_at_once_is_permuted_as_it_always_was(trained):
    trainer, found = trained(**CONTROLS["shuffled of seq"], **cut(8), steps=1)
    _, gate = trained(**SEQ, **cut(8), steps=1)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1_000_003 * trainer.args.seed))
    assert torch.equal(found, gate[order])


@pytest.mark.parametrize("micro", [1, 4])
def test_the_last_pair_of_an_epoch_draws_on_the_pairs_before_it(trained, micro):
    """Nine pairs: the second step has one, whose field is its own weight and those of seven of the first step's."""
    _, gate = trained(**SEQ, **cut(micro), rows=9, steps=2, learning_rate=0.0)
    _, found = trained(**CONTROLS["constant of seq"], **cut(micro), rows=9, steps=2, learning_rate=0.0)
    assert found[8].item() == pytest.approx(gate[1:].mean().item(), abs=1e-5)
    assert abs(found[8] - gate[8]) > 1e-3


def test_a_small_batch_resumes_to_the_bit(trained, model_paths, tmp_path):
    arguments = {**CONTROLS["shuffled of token"], **cut(1, batch=2), "save_strategy": "steps", "save_steps": 2}
    whole, _ = trained(**arguments, steps=5)
    early, late = (tmp_path / "ours" / f"checkpoint-{step}" for step in (2, 4))
    assert len(load_file(early / RECENT_WEIGHTS)) == 4
    assert len(load_file(late / RECENT_WEIGHTS)) == MIN_FIELD - 1

    assert_same_bits(resumed(whole, model_paths["llama"], early), whole)
    (early / RECENT_WEIGHTS).unlink()
    other = resumed(whole, model_paths["llama"], early)
    assert any(not torch.equal(a, b) for a, b in zip(weights(other).values(), weights(whole).values(), strict=True))


def test_scoring_ahead_draws_nothing_that_a_dropout_would(model_paths, tokenizer, preference_rows, tmp_path):
    """An open gate's control is open: with dropout too it trains as no gate does, bit for bit."""

    def run(**gate):
        arguments = GatedDPOConfig(
            output_dir=str(tmp_path), max_steps=2, bf16=False, report_to=[], save_strategy="no", disable_tqdm=True,
            use_cpu=True, learning_rate=1e-3, gradient_checkpointing=False, disable_dropout=False, **cut(2, 4), **gate,
        )  # fmt: skip
        torch.manual_seed(0)
        trainer = GatedDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]), args=arguments,
            train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer,
            peft_config=LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM"),
        )  # fmt: skip
        trainer.train()
        return trainer

    assert_same_bits(run(gate="shuffled", gate_of="seq", gate_alpha=1e30, gate_tau=0.0), run())


@pytest.mark.parametrize("loss", ["dpo", "sft"])
def test_micro_batches_of_1_2_and_8_give_the_same_weights(trained, loss):
    """13 pairs: the second batch has five, which micro-batches of two cut into 2, 2 and 1."""
    whole, _ = trained(rows=13, loss=loss, **cut(8))
    for micro in (1, 2):
        parts, _ = trained(rows=13, loss=loss, **cut(micro))
        assert_close_weights(parts, whole)


def said(caplog, word):
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


@pytest.mark.parametrize(
    ("arguments", "loss"),
    [
        ({"loss": "trl:aot"}, "trl:aot"),
        ({"loss": "trl:sft"}, "trl:sft"),
        ({"loss_type": ["sigmoid", "aot"]}, "trl:aot"),
    ],
    ids=str,
)
def test_a_loss_that_couples_pairs_is_said_to_where_the_batch_is_cut(trained, caplog, arguments, loss):
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        trained(**arguments, **cut(4), steps=1)
        (sentence,) = said(caplog, "sees 4 of a batch of 8")
        assert sentence.startswith(f"loss {loss} ")
        caplog.clear()
        trained(**arguments, **cut(8), steps=1)
        trained(loss="sft", **cut(4), steps=1)
        assert not said(caplog, "of a batch of")


def test_a_control_of_one_pair_is_warned_of(trained, caplog):
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        trained(**CONTROLS["shuffled of seq"], **cut(1, batch=1), steps=1)
        assert len(said(caplog, "the effective batch is one pair")) == 1


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_as_trls(model_paths, preference_rows, tmp_path):
    """Controls, means over tokens, percentiles and the lines of the log are those of the whole batch and data."""
    trainings = {"stock": {}, "none": {}, "open": {"gate": "seq", "gate_alpha": 1e30, "gate_tau": 0.0}}
    trainings |= {
        "watched": {"squeezing": True},
        "sft": {"loss": "sft"},
        "token": {**SEQ, "gate": "token"},
        "q10": {**SEQ, "gate": "q10"},
    }
    trainings |= {name: CONTROLS[name] for name in ("constant of seq", "shuffled of seq", "shuffled of token")}

    def run(processes, micro):
        given = {name: {**arguments, "per_device_train_batch_size": micro} for name, arguments in trainings.items()}
        # fifteen pairs: one process has a pair less to measure than the other
        return trained_on(processes, model_paths["llama"], preference_rows[:15], given, tmp_path / str(processes))

    one, two = run(1, 4), run(2, 2)
    for name in ("none", "open"):  # TRL's bit for bit
        for part, expected in two["stock"][0]["weights"].items():
            assert torch.equal(two[name][0]["weights"][part], expected)
    for name in trainings:
        (alone,) = one[name]
        first, second = two[name]
        gate, same = first["gate"], alone["gate"]
        assert gate == second["gate"]
        assert gate == (pytest.approx(same, rel=1e-6) if same and not isinstance(same[0], str) else same)
        for part, expected in alone["weights"].items():
            torch.testing.assert_close(first["weights"][part], expected, atol=1e-6, rtol=0)
            assert torch.equal(first["weights"][part], second["weights"][part])
        for mine, line in zip(first["log"], alone["log"], strict=True):
            evaluated = [] if name in CONTROLS else ["eval_gate/mean", "eval_gate/q05", "eval_gate/q95"]
            for quantity in ("gate/mean", "gate/q05", "gate/q95", *evaluated):  # a control's field is a batch there
                if quantity in line:
                    assert mine[quantity] == pytest.approx(line[quantity], abs=1e-6)
    for mine, line in zip(two["watched"][0]["log"], one["watched"][0]["log"], strict=True):
        probed = {name: value for name, value in line.items() if name.startswith("squeezing/")}
        assert {name: mine[name] for name in probed} == pytest.approx(probed, abs=1e-4)
    assert "squeezing/delta_argmax" in one["watched"][0]["log"][0]
    assert "eval_gate/q05" in one["token"][0]["log"][-1]
