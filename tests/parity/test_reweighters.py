"""Reweighters and their controls in real trainings: cuts, resuming, layouts, losses of TRL's and ours."""

import math
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from gatebench.objectives.trl.mixin import AVERAGES, OF_CHOSEN, RECENT_WEIGHTS
from tests.parity.processes import trained_on
from tests.parity.test_cuts import STEP, assert_close_weights, cut
from tests.parity.test_trainer import assert_same_bits, resumed, train, weights

KINDS = {
    "clip": {"gate": "clip", "gate_bound": 0.04},
    "constant of clip": {"gate": "constant", "gate_of": "clip", "gate_bound": 0.04},
    "shuffled of clip": {"gate": "shuffled", "gate_of": "clip", "gate_bound": 0.04},
    "humanline": {"gate": "humanline", "gate_band": [-0.05, 0.05]},
    "constant of humanline": {"gate": "constant", "gate_of": "humanline", "gate_band": [-0.05, 0.05]},
    "shuffled of humanline": {"gate": "shuffled", "gate_of": "humanline", "gate_band": [-0.05, 0.05]},
    "rc": {"gate": "rc"},
}
SIDED = [name for name in KINDS if "clip" not in name]
LINES = ("gate/mean", "gate/q05", "gate/q95", "gate/chosen_mean")
FAST = {**STEP, "learning_rate": 0.3}  # so that the pairs differ in what is to be weighed


@pytest.fixture
def trained(model_paths, tokenizer, preference_rows, tmp_path):
    def run(rows=16, family="llama", setting="plain", **arguments):
        return train(
            "ours", model_paths[family], tokenizer, preference_rows[:rows], tmp_path, setting,
            **{"steps": 3, **FAST, **arguments},
        )  # fmt: skip

    return run


def lines(trainer):
    return [
        {name: line[name] for name in LINES if name in line} for line in trainer.state.log_history if "loss" in line
    ]


def assert_alike(one, other, loose=1e-4):
    assert_close_weights(one, other)
    for mine, line in zip(lines(one), lines(other), strict=True):
        assert mine == pytest.approx(line, abs=loose)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_of_1_2_and_8_train_alike(trained, kind):
    whole = trained(**KINDS[kind], **cut(8))
    last = lines(whole)[-1]
    assert ("gate/chosen_mean" in last) is (kind in SIDED)
    assert abs(last["gate/mean"] - 1) > 1e-3
    for micro in (1, 2):
        assert_alike(trained(**KINDS[kind], **cut(micro)), whole)


@pytest.mark.parametrize("kind", ["clip", "shuffled of clip", "rc"])
def test_a_loss_of_ours_and_trls_are_reweighted_alike(trained, kind):
    for micro in (2, 8):
        assert_alike(trained(**KINDS[kind], **cut(micro), loss="dpo"), trained(**KINDS[kind], **cut(micro)))


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_and_a_live_reference_train_alike(trained, kind):
    whole = trained(**KINDS[kind], **cut(4), setting="precomputed" if "humanline" not in kind else "plain")
    assert_alike(trained(**KINDS[kind], **cut(4), layout="one_row"), whole)
    assert_alike(trained(**KINDS[kind], **cut(4), loss="dpo"), whole)


@pytest.mark.parametrize(
    "open_gate",
    [
        {"gate": "clip", "gate_bound": 1e9},
        {"gate": "constant", "gate_of": "clip", "gate_bound": 1e9},
        {"gate": "humanline", "gate_band": [-1e9, 1e9]},
        {"gate": "rc", "gate_value": 1.0},
    ],
    ids=str,
)
def test_one_that_leaves_all_as_it_is_trains_as_none_does_to_the_bit(trained, open_gate):
    assert_same_bits(trained(**open_gate, **cut(2, 4)), trained(**cut(2, 4)))


def test_clip_is_in_units_of_a_pairs_own_loss(trained):
    """At the first step |R| is beta / 2 of every pair, whatever the batch, its cut or its loss are made of."""
    for arguments in (cut(8), cut(2), cut(1, 1), {**cut(2), "loss": "dpo"}, {**cut(2, 6), "rows": 6}):
        assert lines(trained(gate="clip", gate_bound=0.02, steps=1, **arguments))[0]["gate/mean"] == pytest.approx(0.4)
    tokens = trained(gate="clip", gate_bound=0.01, loss="ipo", loss_parameters={"beta": 0.1}, steps=1, **cut(2))
    assert lines(tokens)[0]["gate/mean"] < 0.1  # 2 * 5 / length


def test_what_is_logged_beside_the_gate_is_what_it_was(trained):
    """The loss that is computed to know R leaves no trace: the first line has the metrics of an ungated training."""
    clipped, plain = trained(**KINDS["clip"], **cut(2), steps=1), trained(**cut(2), steps=1)
    own, line = clipped.state.log_history[0], plain.state.log_history[0]
    names = [name for name in line if "runtime" not in name and "norm" not in name]
    assert len(names) > 10
    assert {name: own[name] for name in names} == {name: line[name] for name in names}


def by_outer_products(path, trainer):
    """log r* at the first step, by hand: whole logits of one response at a time, no part of the trainer."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64)
    sums = {}
    for side in ("chosen", "rejected"):
        for row in trainer.train_dataset:
            ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
            with torch.no_grad():
                out = model(input_ids=ids, output_hidden_states=True)
            at = slice(len(row["prompt_ids"]) - 1, ids.shape[1] - 1)
            hidden, p = out.hidden_states[-1][0, at], out.logits[0, at].softmax(dim=1)
            missing = torch.eye(p.shape[1], dtype=torch.float64)[ids[0, len(row["prompt_ids"]) :]] - p
            sums[side] = sums.get(side, 0) + missing.T @ hidden
    return math.log(sums["rejected"].norm() / sums["chosen"].norm())


@pytest.mark.parametrize("family", ["llama", "neox", "qwen"])
@pytest.mark.parametrize("loss", ["dpo", "dpo_shift"])
def test_rc_beside_a_small_independent_computation(trained, model_paths, family, loss):
    parameters = {"loss": loss, "loss_parameters": {"beta": 0.1, **({"lam": 0.5} if loss == "dpo_shift" else {})}}
    trainer = trained(gate="rc", **parameters, **cut(4, 8), rows=8, steps=1, family=family, max_length=512)
    # at the first step policy and reference are equal: mean |C| and mean |R| of dpo are so too
    log_r = 0.0
    if loss == "dpo_shift":
        log_r = -math.log(0.5)
    alpha = math.exp(0.5 * (by_outer_products(model_paths[family], trainer) - log_r))
    (line,) = lines(trainer)
    assert line["gate/chosen_mean"] == pytest.approx(alpha, rel=1e-4)
    assert line["gate/mean"] == pytest.approx(1 / alpha, rel=1e-4)


def test_rc_of_an_adapter_balances_the_weights_that_are_trained(trained):
    whole = trained(gate="rc", setting="lora", **cut(8))
    assert len({line["gate/chosen_mean"] for line in lines(whole)}) == 3
    assert_alike(trained(gate="rc", setting="lora", **cut(2)), whole)


@pytest.mark.parametrize("kind", ["shuffled of humanline", "rc", "constant of clip"])
def test_a_training_resumes_to_the_bit(trained, model_paths, tmp_path, kind):
    arguments = {**KINDS[kind], **cut(1, batch=2), "save_strategy": "steps", "save_steps": 2}
    whole = trained(**arguments, steps=5)
    early = tmp_path / "ours" / "checkpoint-2"
    names = set(load_file(early / RECENT_WEIGHTS))
    assert (AVERAGES in names) is (kind == "rc")
    assert any(name.startswith(OF_CHOSEN) for name in names) is ("humanline" in kind)

    assert_same_bits(resumed(whole, model_paths["llama"], early), whole)
    (early / RECENT_WEIGHTS).unlink()
    other = resumed(whole, model_paths["llama"], early)
    assert any(not torch.equal(a, b) for a, b in zip(weights(other).values(), weights(whole).values(), strict=True))


def test_scoring_ahead_draws_nothing_that_a_dropout_would(model_paths, tokenizer, preference_rows, tmp_path):
    def run(**gate):
        arguments = GatedDPOConfig(
            output_dir=str(tmp_path), max_steps=2, bf16=False, report_to=[], save_strategy="no", disable_tqdm=True,
            use_cpu=True, learning_rate=1e-3, gradient_checkpointing=False, disable_dropout=False, logging_steps=1,
            **cut(2, 4), **gate,
        )  # fmt: skip
        torch.manual_seed(0)
        trainer = GatedDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]), args=arguments,
            train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer,
            peft_config=LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM"),
        )  # fmt: skip
        trainer.train()
        return trainer.state.log_history[0]["loss"]

    assert run(gate="rc") == run() == run(gate="shuffled", gate_of="clip", gate_bound=0.01)


def test_stored_reference_tokens_of_both_sides_stand_for_the_reference_model(trained):
    """humanline and its control with precomputed references, as the harness trains them."""
    for kind in ("humanline", "shuffled of humanline"):
        live = trained(**KINDS[kind], **cut(4))
        rows = list(live.train_dataset)
        for row in rows:
            for side in ("chosen", "rejected"):
                ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
                with torch.no_grad():
                    log_p = live.ref_model(input_ids=ids).logits[0, :-1].float().log_softmax(dim=-1)
                own = log_p.gather(1, ids[0, 1:, None]).squeeze(1)[len(row["prompt_ids"]) - 1 :]
                row[f"ref_{side}_token_logps"], row[f"ref_{side}_logps"] = own.tolist(), own.sum().item()
        stored = GatedDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(live.ref_model.config._name_or_path),
            args=replace(live.args, precompute_ref_log_probs=True), train_dataset=Dataset.from_list(rows),
            processing_class=live.processing_class,
        )  # fmt: skip
        stored.train()
        assert_alike(stored, live)


def test_humanline_refuses_data_without_the_reference(trained):
    with pytest.raises(ValueError, match=r"gate humanline needs the reference model .* ref_chosen_token_logps and "):
        trained(**KINDS["humanline"], precompute_ref_log_probs=True)


@pytest.mark.slow
def test_two_processes_reweigh_as_one_does(model_paths, preference_rows, tmp_path):
    trainings = {name: {**own, "learning_rate": 0.3} for name, own in KINDS.items()}
    trainings["rc, lora"] = {**KINDS["rc"], "lora": True, "learning_rate": 0.3}

    def run(processes, micro):
        given = {name: {**arguments, "per_device_train_batch_size": micro} for name, arguments in trainings.items()}
        return trained_on(processes, model_paths["llama"], preference_rows[:16], given, tmp_path / str(processes))

    one, two = run(1, 4), run(2, 2)
    for name in trainings:
        (alone,), (first, second) = one[name], two[name]
        for part, expected in alone["weights"].items():
            torch.testing.assert_close(first["weights"][part], expected, atol=2e-6, rtol=1e-4)
            assert torch.equal(first["weights"][part], second["weights"][part])
        for mine, line in zip(first["log"], alone["log"], strict=True):
            for quantity in LINES:
                if quantity in line:
                    assert mine[quantity] == pytest.approx(line[quantity], abs=1e-5)


@pytest.mark.parametrize("kind", ["clip", "shuffled of clip", "rc"])
@pytest.mark.parametrize("loss", ["beta_dpo", "simpo", {"dpo": 1, "nll": 0.2}], ids=str)
def test_rivals_are_reweighted_alike_however_the_batch_is_cut(trained, loss, kind):
    """Also a loss that takes something of the whole step and of those before, which is then taken once a step, one
    that reads no reference, and a mix."""
    given = {**KINDS[kind], "gate_bound": 0.01 if "clip" in kind else None, "loss": loss, "learning_rate": 0.05}
    assert_alike(trained(**given, **cut(2)), trained(**given, **cut(8)))
