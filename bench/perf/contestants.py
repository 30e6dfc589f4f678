"""The same pairs through stock TRL and through our trainer: one optimizer step at a time, from the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.source import DataSource

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

DEFAULT, PRECOMPUTED, PLAIN, OURS = "trl_default", "trl_precomputed", "trl_no_checkpointing", "gatebench"
TWO_ROWS = "gatebench_two_rows"  # our objectives and gates on TRL's own forward pass
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    PRECOMPUTED: {"precompute_ref_log_probs": True},
    PLAIN: {"precompute_ref_log_probs": True, "gradient_checkpointing": False},
    OURS: {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "layout": "one_row"},
    TWO_ROWS: {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "layout": "trl"},
}


@dataclass(frozen=True)
class Work:
    """What every contestant trains on: a folder of weights, and rows of prompt, chosen, rejected that TRL itself
    tokenizes."""

    policy: Path
    tokenizer: PreTrainedTokenizerBase
    rows: Dataset
    batch_size: int
    max_length: int


def make_work(
    model: str, data: DataSource, steps: int, folder: Path, batch_size: int = 8, max_length: int = 512
) -> Work:
    """The first steps x batch_size pairs and a model of the ladder with random weights."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, set_seed

    from bench.data.adapters import load, plain
    from bench.models import ladder

    found = load(data)
    tokenizer = ladder.make_tokenizer(found.corpus)
    set_seed(0)
    policy = AutoModelForCausalLM.from_config(ladder.make_config(model), attn_implementation="sdpa")
    policy.save_pretrained(folder / "policy")
    pairs = [pair for pair in found.train if len(plain(pair.prompt)) < max_length][: steps * batch_size]
    rows = [{"prompt": plain(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]
    return Work(folder / "policy", tokenizer, Dataset.from_list(rows), batch_size, max_length)


class Contestant:
    """A trainer by one of SETTINGS, stepped from outside so that several can take turns."""

    def __init__(self, name: str, work: Work, folder: Path, **more: Any) -> None:
        from transformers import AutoModelForCausalLM
        from trl import DPOConfig, DPOTrainer

        from objectives.trl import GatedDPOConfig, GatedDPOTrainer

        ours = name in (OURS, TWO_ROWS)
        config = (GatedDPOConfig if ours else DPOConfig)(
            output_dir=str(folder / name), per_device_train_batch_size=work.batch_size, max_length=work.max_length,
            learning_rate=1e-4, bf16=False, report_to=[], disable_tqdm=True, **{**SETTINGS[name], **more},
        )  # fmt: skip
        self.trainer = (GatedDPOTrainer if ours else DPOTrainer)(
            model=AutoModelForCausalLM.from_pretrained(work.policy, attn_implementation="sdpa"),
            args=config, train_dataset=work.rows, processing_class=work.tokenizer,
        )  # fmt: skip
        self.size = work.batch_size
        trainer = self.trainer
        trainer.model.train()
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        trainer.state.max_steps = len(work.rows) // work.batch_size

    def step(self, number: int) -> float:
        """Batch, forward, backward and update of one step; returns its loss."""
        trainer = self.trainer
        rows = [trainer.train_dataset[(number * self.size + i) % len(trainer.train_dataset)] for i in range(self.size)]
        loss = trainer.training_step(trainer.model, trainer.data_collator(rows))
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.state.global_step = number + 1
        return float(loss)
