"""What people set in TRL's trainer, one at a time.

Without a gate and with an open one the weights are TRL's bit for bit; a layout gives them up to rounding, or says that
it steps back. Not here, as stock does not run them on a CPU: activation offloading, quantized weights, Liger's kernels.
"""

from functools import cache

import pytest
import torch
from datasets import Dataset
from peft import (
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, EarlyStoppingCallback
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from gatebench.objectives.trl_losses import TYPES
from tests.parity.processes import SETTINGS
from tests.parity.test_trainer import assert_same_bits, weights

OPEN = {"gate": "seq", "gate_alpha": 1e30, "gate_tau": 0.0}
LORA = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
ADAPTERS = {
    "LoRA": LoraConfig(**LORA), "rsLoRA": LoraConfig(**LORA, use_rslora=True),
    "DoRA": LoraConfig(**LORA, use_dora=True),
    "LoRA on two layers": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "LoRA with dropout": LoraConfig(**LORA, lora_dropout=0.3),
    "IA3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prompt tuning": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix tuning": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "P-tuning": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8),
}  # fmt: skip
ARGUMENTS = {
    **{f"loss {name}": {"loss_type": name, "label_smoothing": 0.1 if name in ("exo_pair", "robust") else 0.0}
       for name in TYPES},
    "two losses": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]},
    "beta": {"beta": 0.5}, "label smoothing": {"label_smoothing": 0.2},
    "ld_alpha": {"ld_alpha": 0.3}, "forward KL": {"f_divergence_type": "forward_kl"},
    "JS": {"f_divergence_type": "js_divergence"},
    "alpha divergence": {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3},
    "WPO": {"use_weighting": True},
    "references ahead": {"precompute_ref_log_probs": True, "precompute_ref_batch_size": 3},
    "reference follows": {"sync_ref_model": True, "ref_model_sync_steps": 1, "ref_model_mixup_alpha": 0.5},
    "checkpointing": {"gradient_checkpointing": True},
    "checkpointing, reentrant": {
        "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True},
    },
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "autocast": {"bf16": True}, "clipping": {"max_grad_norm": 0.1}, "AdamW": {"optim": "adamw_torch"},
    "Adafactor": {"optim": "adafactor"}, "weight decay": {"weight_decay": 0.1},
    "cosine": {"lr_scheduler_type": "cosine", "warmup_steps": 1}, "NEFTune": {"neftune_noise_alpha": 5.0},
    "epochs": {"max_steps": -1, "num_train_epochs": 1}, "cut at the end": {"max_length": 20},
    "cut at the beginning": {"max_length": 20, "truncation_mode": "keep_end"}, "not cut": {"max_length": None},
    "padded to 8": {"pad_to_multiple_of": 8}, "last batch dropped": {"dataloader_drop_last": True},
    "workers": {"dataloader_num_workers": 1}, "own columns kept": {"remove_unused_columns": False},
    "lines of three": {"logging_steps": 3},
    "no lines": {"logging_strategy": "no"}, "saved": {"save_strategy": "steps", "save_steps": 1},
    "evaluated": {"eval_strategy": "steps", "eval_steps": 1},
    "evaluated first": {"eval_strategy": "steps", "eval_on_start": True},
    "other seed": {"seed": 7, "data_seed": 3},
    "dropout kept": {"disable_dropout": False},
}  # fmt: skip
ROWS = {"messages": None, "no prompt": None, "prompt inside": None, "a stream": None}
CASES = [*ARGUMENTS, *ADAPTERS, *ROWS, "adapter of somebody's", "own reference", "own collator", "stops early"]


@pytest.fixture(scope="module")
def train(model_paths, tokenizer, preference_rows, tmp_path_factory):
    chatty = type(tokenizer).from_pretrained(model_paths["llama"])
    chatty.chat_template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )

    def rows(case):
        if case == "messages":
            roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
            return Dataset.from_list(
                [{k: [{"role": roles[k], "content": row[k]}] for k in roles} for row in preference_rows]
            )
        if case == "no prompt":
            return Dataset.from_list([{**row, "prompt": ""} for row in preference_rows])
        if case == "prompt inside":
            sides = ("chosen", "rejected")
            return Dataset.from_list([{s: row["prompt"] + row[s] for s in sides} for row in preference_rows])
        data = Dataset.from_list(preference_rows)
        return data.to_iterable_dataset() if case == "a stream" else data

    @cache
    def run(case, kind):
        own = {"stock": {}, "none": {}, "open": OPEN, "one_row": {"layout": "one_row"}, "packed": {"layout": "packed"}}
        config, trainer = (DPOConfig, DPOTrainer) if kind == "stock" else (GatedDPOConfig, GatedDPOTrainer)
        arguments = {
            **SETTINGS,
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            **ARGUMENTS.get(case, {}),
            **own[kind],
        }
        model, adapter = AutoModelForCausalLM.from_pretrained(model_paths["llama"]), ADAPTERS.get(case)
        if case == "adapter of somebody's":
            torch.manual_seed(5)
            model = get_peft_model(model, ADAPTERS["LoRA"])
        stops = case == "stops early"
        if stops:
            arguments |= {
                "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "save_strategy": "steps",
                "save_steps": 1, "metric_for_best_model": "eval_loss",
            }  # fmt: skip
        made = trainer(
            model=model, args=config(str(tmp_path_factory.mktemp("out")), **arguments), train_dataset=rows(case),
            eval_dataset=Dataset.from_list(preference_rows[:4]) if stops or "evaluated" in case else None,
            processing_class=chatty if case == "messages" else tokenizer, peft_config=adapter,
            ref_model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]) if case == "own reference" else None,
            data_collator=DataCollatorForPreference(tokenizer.pad_token_id, 40) if case == "own collator" else None,
            callbacks=[EarlyStoppingCallback(1)] if stops else None,
        )  # fmt: skip
        made.train()
        return made

    return run


def test_they_are_as_many_as_are_told():
    assert len(CASES) >= 65


@pytest.mark.parametrize("kind", ["none", "open"])
@pytest.mark.parametrize("case", CASES)
def test_weights_are_trls_bit_for_bit(train, case, kind):
    assert_same_bits(train(case, kind), train(case, "stock"))


@pytest.mark.parametrize("layout", ["one_row", "packed"])
@pytest.mark.parametrize("case", [case for case in CASES if "dropout" not in case and case != "NEFTune"])
def test_a_layout_gives_the_same_up_to_rounding(train, case, layout):
    """Noise is drawn in the shape of the rows, so another layout draws other noise."""
    ours, theirs = train(case, layout), train(case, "stock")
    if ours.layout_caution:
        assert_same_bits(ours, theirs)
    moved = 3e-2 if case in ("AdamW", "Adafactor") else 1e-3 if case == "autocast" else 1e-5  # Adam divides by rounding
    for name, weight in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], weight, atol=moved, rtol=1e-4)
