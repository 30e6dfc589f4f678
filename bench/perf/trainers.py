"""The same pairs through stock TRL and through our trainer: one optimizer step at a time, from the same weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from gatebench.bench.data.pairs import Pair
from gatebench.bench.data.source import DataSource

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Qwen2Config

DEFAULT, PRECOMPUTED, OURS = "trl_default", "trl_precomputed", "gatebench"
WITHOUT_CHECKPOINTING = "trl_without_checkpointing"
PACKED = "gatebench_packed"  # several pairs a row; on a GPU by FlexAttention
TWO_ROWS = "gatebench_two_rows"  # our objectives and gates on TRL's own forward pass


class Configuration(TypedDict, total=False):
    """Arguments of a trainer's config; without one TRL's default holds. loss is ours, loss_type TRL's."""

    precompute_ref_log_probs: bool
    gradient_checkpointing: bool
    layout: str
    loss: str
    loss_type: str
    gate: str
    gate_alpha: str
    gate_tau: str


STORED: Configuration = {"precompute_ref_log_probs": True}
KEPT: Configuration = {**STORED, "gradient_checkpointing": False}
CONFIGURATIONS: Mapping[str, Configuration] = {
    DEFAULT: {},
    PRECOMPUTED: STORED,
    WITHOUT_CHECKPOINTING: KEPT,
    OURS: {**KEPT, "layout": "one_row"},
    PACKED: {**KEPT, "layout": "packed"},
    TWO_ROWS: {**KEPT, "layout": "trl"},
}
STEPS = 20  # that are measured
LEARNING_RATE = 1e-4
HALF_BILLION = "qwen-0.5b"  # for a GPU: Qwen2.5-0.5B's shape with random weights, in bfloat16 and batches of 16


@dataclass(frozen=True)
class Work:
    """What every contestant trains on: in `folder` a policy, its tokenizer, and pairs that TRL itself tokenizes."""

    folder: Path
    batch_size: int = 8
    max_length: int = 512
    dtype: str = "float32"

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def rows(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads((self.folder / "rows.json").read_text())
        return found


def make_work(model: str, data: DataSource, folder: Path, vocabulary: int | None = None) -> Work:
    """The pairs of STEPS batches and a model with random weights: a built-in of the ladder, or HALF_BILLION.

    vocabulary: its entries, where not the tokenizer's own; text never uses the others.
    """
    from transformers import AutoModelForCausalLM, set_seed

    from gatebench.bench.data.adapters import load, load_corpus
    from gatebench.bench.data.pairs import plain
    from gatebench.bench.models import ladder

    work, found = Work(folder), load(data)
    if model == HALF_BILLION:
        work = replace(work, batch_size=16, dtype="bfloat16")
    folder.mkdir(exist_ok=True)
    config = half_billion() if model == HALF_BILLION else ladder.make_config(model)
    config.vocab_size = vocabulary or config.vocab_size
    set_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(work.policy)
    ladder.make_tokenizer(load_corpus(data)).save_pretrained(work.policy)
    pairs = [pair for pair in found.train if len(plain(pair.prompt)) < work.max_length][: STEPS * work.batch_size]
    (folder / "rows.json").write_text(json.dumps(trl_rows(pairs)))
    return work


def half_billion() -> Qwen2Config:
    """The config of Qwen2.5-0.5B."""
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip


def trl_rows(pairs: Iterable[Pair]) -> list[dict[str, str]]:
    """Pairs as the plain rows that TRL reads."""
    from gatebench.bench.data.pairs import plain, plain_response

    return [
        {
            "prompt": plain(pair.prompt),
            **{side: plain_response(pair.prompt, getattr(pair, side)) for side in ("chosen", "rejected")},
        }
        for pair in pairs
    ]


class Contestant:
    """A trainer by one of CONFIGURATIONS, stepped from outside so that several can take turns."""

    def __init__(self, name: str, work: Work, **more: Unpack[Configuration]) -> None:
        import torch
        from datasets import Dataset
        from datasets.utils.logging import disable_progress_bar
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import DPOConfig, DPOTrainer

        from gatebench.objectives.layout.attention import FLEX, flex_serves
        from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer

        disable_progress_bar()
        ours = name in (OURS, PACKED, TWO_ROWS)
        attention = FLEX if flex_serves(CONFIGURATIONS[name].get("layout")) else "sdpa"
        chosen: Configuration = {**CONFIGURATIONS[name], **more}
        config = (GatedDPOConfig if ours else DPOConfig)(
            output_dir=str(work.folder / name), per_device_train_batch_size=work.batch_size,
            max_length=work.max_length, learning_rate=LEARNING_RATE, bf16=work.dtype == "bfloat16", report_to=[],
            disable_tqdm=True, use_cpu=not torch.cuda.is_available(), **chosen,
        )  # fmt: skip
        self.trainer = (GatedDPOTrainer if ours else DPOTrainer)(
            model=AutoModelForCausalLM.from_pretrained(
                work.policy, attn_implementation=attention, dtype=getattr(torch, work.dtype)
            ),
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

    def batch(self, number: int) -> dict[str, Tensor]:
        data = self.trainer.train_dataset
        rows = [data[(number * self.size + i) % len(data)] for i in range(self.size)]
        batch: dict[str, Tensor] = self.trainer.data_collator(rows)
        return batch

    def step(self, number: int) -> float:
        """Batch, forward, backward and update of one step; returns its loss."""
        trainer = self.trainer
        loss = trainer.training_step(trainer.model, self.batch(number))
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.state.global_step = number + 1
        return float(loss)  # which waits for an accelerator
