"""A suite's recipe against TRL's own trainer with the arguments written by hand: the same weights, bit for bit."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from gatebench.bench.models.loading import lora_config
from gatebench.bench.models.source import Adapter
from gatebench.bench.stages.training.arguments import arguments_of
from gatebench.bench.suite.recipes import Train
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from tests.helpers import load_model
from tests.parity.test_trainer import assert_same_bits

ADAM = {"optimizer": "adamw_torch", "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}
PAIRS = {  # name -> our recipe, TRL's arguments
    "today's": ({}, {"optim": "rmsprop", "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 150}),
    "cosine, ratio": (
        {"schedule": "cosine", "warmup_ratio": 0.25},
        {"optim": "rmsprop", "lr_scheduler_type": "cosine", "warmup_steps": 0.25},
    ),
    "linear, steps, decay": (
        {"schedule": "linear", "warmup_steps": 2, "weight_decay": 0.1, **ADAM},
        {"optim": "adamw_torch", "lr_scheduler_type": "linear", "warmup_steps": 2, "weight_decay": 0.1,
         "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6},
    ),
    "adafactor, constant": (
        {"optimizer": "adafactor", "schedule": "constant"}, {"optim": "adafactor", "lr_scheduler_type": "constant"},
    ),
    "checkpointing, sgd": (
        {"optimizer": "sgd", "schedule": "constant", "gradient_checkpointing": True},
        {"optim": "sgd", "lr_scheduler_type": "constant", "gradient_checkpointing": True},
    ),
    "fused, polynomial": (
        {"optimizer": "adamw_torch_fused", "schedule": "polynomial", "warmup_steps": 1},
        {"optim": "adamw_torch_fused", "lr_scheduler_type": "polynomial", "warmup_steps": 1},
    ),
    "adagrad, inverse_sqrt": (
        {"optimizer": "adagrad", "schedule": "inverse_sqrt", "warmup_steps": 1},
        {"optim": "adagrad", "lr_scheduler_type": "inverse_sqrt", "warmup_steps": 1},
    ),
}  # fmt: skip
ADAPTERS = {
    "none": (None, None),
    "all-linear": (Adapter(r=4, alpha=8), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")),
    "two layers, dropout": (
        Adapter(r=4, alpha=8, dropout=0.2, targets=("q_proj", "v_proj")),
        LoraConfig(r=4, lora_alpha=8, lora_dropout=0.2, target_modules=["q_proj", "v_proj"]),
    ),
}


def trained(kind, path, tokenizer, rows, folder, arguments, adapter, layout=None):
    config, trainer = (GatedDPOConfig, GatedDPOTrainer) if kind == "ours" else (DPOConfig, DPOTrainer)
    given = {"gradient_checkpointing": False, "max_grad_norm": 10.0, "learning_rate": 1e-3, **arguments}
    torch.manual_seed(0)  # an adapter starts at random
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), processing_class=tokenizer,
        args=config(
            output_dir=str(folder / kind), per_device_train_batch_size=4, max_steps=6, logging_steps=1, seed=1,
            bf16=False, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, max_length=64, **given,
            **({"layout": layout} if layout else {}),
        ),
        train_dataset=Dataset.from_list(rows), peft_config=adapter,
    )  # fmt: skip
    made.train()
    return made


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("recipe", PAIRS)
def test_a_recipe_is_trls_own_training(model_paths, tokenizer, preference_rows, tmp_path, recipe, adapter):
    (ours, theirs), (own, wanted) = PAIRS[recipe], ADAPTERS[adapter]
    given = model_paths["llama"], tokenizer, preference_rows, tmp_path
    arguments = arguments_of(Train(learning_rate=1e-3, **ours))
    mine = trained("ours", *given, arguments, lora_config(own, load_model(model_paths["llama"])) if own else None)
    stock = trained("stock", *given, theirs, wanted)
    assert_same_bits(mine, stock)
    rates = [[entry["learning_rate"] for entry in t.state.log_history if "loss" in entry] for t in (mine, stock)]
    assert rates[0] == rates[1]
    assert (len(set(rates[0])) > 1) is (arguments["lr_scheduler_type"] != "constant")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["one_row", "packed"])
@pytest.mark.parametrize("adapter", ["none", "all-linear"])
@pytest.mark.parametrize("option", ["gradient_checkpointing", "torch_compile"])
def test_a_layout_beside_an_option_gives_trls_losses_or_steps_back(
    model_paths, tokenizer, preference_rows, tmp_path, monkeypatch, option, adapter, layout
):
    arguments = arguments_of(Train(learning_rate=1e-3, warmup_steps=1, **{option: True}))
    # compiled by TorchDynamo alone: kernels of TorchInductor take minutes, and give the same
    arguments |= {"torch_compile_backend": "eager"} if option == "torch_compile" else {}
    given = model_paths["llama"], tokenizer, preference_rows, tmp_path
    plain = trained("stock", *given, arguments | {option: False, "torch_compile_backend": None}, ADAPTERS[adapter][1])
    ours = trained("ours", *given, arguments, ADAPTERS[adapter][1], layout)
    if option == "torch_compile":
        assert "is compiled, anew for every shape of a row; two rows a pair are used" in ours.layout_caution
    else:
        assert ours.layout_caution is None
    losses = [torch.tensor([e["loss"] for e in t.state.log_history if "loss" in e]) for t in (ours, plain)]
    torch.testing.assert_close(*losses, atol=1e-4, rtol=0)
