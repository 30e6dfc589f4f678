"""The same pairs through stock TRL and through our trainer: one optimizer step at a time, from the same weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.pairs import Pair
from bench.data.source import DataSource

DEFAULT, PRECOMPUTED, PLAIN, OURS = "trl_default", "trl_precomputed", "trl_without_checkpointing", "gatebench"
TWO_ROWS = "gatebench_two_rows"  # our objectives and gates on TRL's own forward pass
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    PRECOMPUTED: {"precompute_ref_log_probs": True},
    PLAIN: {"precompute_ref_log_probs": True, "gradient_checkpointing": False},
    OURS: {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "layout": "one_row"},
    TWO_ROWS: {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "layout": "trl"},
}
STEPS = 20  # that are measured
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Work:
    """What every contestant trains on: in `folder` a policy, its tokenizer, and pairs that TRL itself tokenizes."""

    folder: Path
    batch_size: int = 8
    max_length: int = 512

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def rows(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads((self.folder / "rows.json").read_text())
        return found


def make_work(model: str, data: DataSource, folder: Path, vocabulary: int | None = None) -> Work:
    """The pairs of STEPS batches and a model of the ladder with random weights.

    vocabulary: its entries, where not the tokenizer's own; text never uses the others.
    """
    from transformers import AutoModelForCausalLM, set_seed

    from bench.data.adapters import load, plain
    from bench.models import ladder

    work, found = Work(folder), load(data)
    folder.mkdir(exist_ok=True)
    config = ladder.make_config(model)
    config.vocab_size = vocabulary or config.vocab_size
    set_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(work.policy)
    ladder.make_tokenizer(found.corpus).save_pretrained(work.policy)
    pairs = [pair for pair in found.train if len(plain(pair.prompt)) < work.max_length][: STEPS * work.batch_size]
    (folder / "rows.json").write_text(json.dumps(trl_rows(pairs)))
    return work


def trl_rows(pairs: Iterable[Pair]) -> list[dict[str, str]]:
    """Pairs as the plain rows that TRL reads."""
    from bench.data.adapters import plain

    return [{"prompt": plain(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]


class Contestant:
    """A trainer by one of SETTINGS, stepped from outside so that several can take turns."""

    def __init__(self, name: str, work: Work, **more: Any) -> None:
        from datasets import Dataset
        from datasets.utils.logging import disable_progress_bar
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import DPOConfig, DPOTrainer

        from objectives.trl import GatedDPOConfig, GatedDPOTrainer

        disable_progress_bar()
        ours = name in (OURS, TWO_ROWS)
        config = (GatedDPOConfig if ours else DPOConfig)(
            output_dir=str(work.folder / name), per_device_train_batch_size=work.batch_size,
            max_length=work.max_length, learning_rate=LEARNING_RATE, bf16=False, report_to=[], disable_tqdm=True,
            **{**SETTINGS[name], **more},
        )  # fmt: skip
        self.trainer = (GatedDPOTrainer if ours else DPOTrainer)(
            model=AutoModelForCausalLM.from_pretrained(work.policy, attn_implementation="sdpa"),
            args=config, train_dataset=Dataset.from_list(work.rows),
            processing_class=AutoTokenizer.from_pretrained(work.policy),
        )  # fmt: skip
        self.size = work.batch_size
        self.trainer.model.train()
        self.trainer.create_optimizer()
        self.trainer.current_gradient_accumulation_steps = 1
        self.trainer.state.max_steps = len(work.rows) // work.batch_size
        if ours:
            self.trainer.resolve_gate()

    def batch(self, number: int) -> dict[str, Any]:
        data = self.trainer.train_dataset
        rows = [data[(number * self.size + i) % len(data)] for i in range(self.size)]
        batch: dict[str, Any] = self.trainer.data_collator(rows)
        return batch

    def step(self, number: int) -> float:
        """Batch, forward, backward and update of one step; returns its loss."""
        trainer = self.trainer
        loss = trainer.training_step(trainer.model, self.batch(number))
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.state.global_step = number + 1
        return float(loss)  # which waits for an accelerator
