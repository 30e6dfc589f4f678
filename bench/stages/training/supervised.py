"""Next-token training with transformers' Trainer, for the base and warm-up stages."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from gatebench.bench.models.source import FLOAT32
from gatebench.bench.stages.stage import Report
from gatebench.bench.stages.training.dealing import check_even
from gatebench.bench.stages.training.divergence import divergence_callback
from gatebench.bench.stages.training.packing import Row, collator
from gatebench.bench.stages.training.resume import TRAINER, checkpoint_callback, restore
from gatebench.bench.stages.training.sharding import gathered_model, shard, team_trainer
from gatebench.bench.stages.training.team import ALONE, Team

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

    from gatebench.objectives.causal_lm import CausalLM

M = TypeVar("M", bound="CausalLM")
STEPS_A_LOG_LINE = 10


def callback_for(report: Report, text: str) -> TrainerCallback:
    """A Trainer callback that reports progress and logs the last step."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
            report(state.global_step / max(1, state.max_steps), text)
            if state.global_step >= state.max_steps:
                control.should_log = True  # curves reach the true end, whatever the logging interval

    return Watch()


@dataclass(frozen=True)
class Fitted(Generic[M]):
    """A trained model. steps: of the optimizer; micro: the micro-batch that fitted into memory; cautions: why rows were
    not packed, if so."""

    model: M
    steps: int
    micro: int
    cautions: list[str]


def fit(
    make_model: Callable[[], M],
    rows: Sequence[Row],
    *,
    learning_rate: float,
    batch_size: int,
    epochs: float = 1,
    steps: int = -1,
    seed: int,
    report: Report,
    out: Path,
    dtype: str = FLOAT32,
    optimizer: str = "adamw_torch_fused",
    gradient_checkpointing: bool = False,
    team: Team = ALONE,
) -> Fitted[M]:
    """Train a causal model on rows, packed where they differ in length, with a cosine schedule.

    make_model: gives the model at its start, again for each micro-batch that is tried; dtype: the type that is computed
    in, whatever that of the weights; team: each of its processes fits its share, and the first has the whole model.

    Raises StageFailed with the step where the training has diverged.
    """
    check_even(len(rows), batch_size, None, team.size)

    def attempt(micro: int) -> tuple[M, int, str | None]:
        import torch
        from transformers import Trainer, TrainingArguments

        model = make_model()
        vocabulary = model.config.get_text_config().vocab_size
        collate, caution = collator(model, rows)  # before what was trained comes back: a resumed run decides alike
        point = restore(model, out, team)
        arguments = TrainingArguments(
            output_dir=str(out / TRAINER), per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch_size // (micro * team.size), num_train_epochs=epochs,
            max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="cosine", warmup_steps=0.05, seed=seed,
            logging_steps=STEPS_A_LOG_LINE, save_strategy="no", save_total_limit=1, report_to=[], disable_tqdm=True,
            remove_unused_columns=False, dataloader_pin_memory=False, bf16=dtype != FLOAT32, max_grad_norm=1.0,
            use_cpu=not torch.cuda.is_available(), logging_nan_inf_filter=False, optim=optimizer,
            gradient_checkpointing=gradient_checkpointing,
        )  # fmt: skip
        trainer = team_trainer(Trainer, batch_size, team)(
            model=model, args=arguments, train_dataset=list(rows), data_collator=collate,
            callbacks=[
                callback_for(report, "training"), divergence_callback(worst_loss=2 * math.log(vocabulary)),
                checkpoint_callback(STEPS_A_LOG_LINE, out, team),
            ],
        )  # fmt: skip
        shard(trainer, team)
        without_lines(trainer)
        trainer.train(resume_from_checkpoint=point)
        return gathered_model(model, team, make_model), trainer.state.global_step, caution

    clear = partial(drop_checkpoints, out)
    (model, done, caution), micro = team.fitted(batch_size, attempt, clear)
    if team.leads:
        clear()
    return Fitted(model, done, micro, [caution] if caution else [])


def drop_checkpoints(out: Path) -> None:
    """What a training leaves that is done, or that is tried again."""
    shutil.rmtree(out / TRAINER, ignore_errors=True)


def without_lines(trainer: Trainer) -> None:
    """Workers share the terminal with the suite's bar: no trainer prints its own lines."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
