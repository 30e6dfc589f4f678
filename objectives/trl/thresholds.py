"""Thresholds that are written as percentiles, measured under the policy before its first step.

At the beginning of a training, when the model is where it will be trained (wrapped, sharded, on its device), every
process scores its share of the pairs in the order of the data, all as often as each other. Nothing is drawn from a
random generator. A checkpoint remembers what was measured: a resumed training does not measure what it has trained.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import cast

import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils.logging import tqdm
from trl import DPOTrainer

from gatebench.objectives import gates
from gatebench.objectives.gate_fit import constant_caution
from gatebench.objectives.gates import CLIP, HUMANLINE, RC, Gate
from gatebench.objectives.reweighters import RC_DECAY
from gatebench.objectives.trl import scores
from gatebench.objectives.trl.collators import Batch, Collator, Example

logger = logging.getLogger(__name__)
THRESHOLDS_KEPT = "gatebench.thresholds"  # in a checkpoint's trainer_state.json
STREAM_MEASURED = 1024  # pairs: a percentile of so many is known to 1.6 points (standard error at the median)


def resolved(trainer: DPOTrainer, gate: Gate) -> Gate:
    """The gate with numbers for its percentile and its K/tau. Raises ValueError where no response has a probability."""
    if not isinstance(gate.source.tau, str):
        return gates.resolve_thresholds(gate, torch.tensor([]))
    p = measured_probabilities(trainer, gate.source)
    found = gates.resolve_thresholds(gate, p)
    sentence = constant_caution(found, p)
    if trainer.is_world_process_zero():
        logger.info("gate_tau %s is %.4g, gate_alpha %.4g on this data", gate.source.tau, *tau_and_alpha(found))
        if sentence:
            logger.warning(sentence)
    return found


def tau_and_alpha(gate: Gate) -> tuple[float, float]:
    """tau and alpha of a resolved gate."""
    return float(gate.source.tau), float(gate.source.alpha)


def described(asked: Gate, gate: Gate) -> str:
    """The numbers of a gate in words, beside what was asked for where that was a percentile or K/tau."""
    if gate.value is not None:
        return f"{'alpha' if gate.kind == RC else 'weight'} {gate.value:g}"
    if not gate.compares:
        own = {CLIP: f"bound {gate.source.bound}", HUMANLINE: f"band {list(gate.source.band)}"}
        return own.get(gate.source.kind, f"averages over steps with decay {RC_DECAY}")
    source, written = gate.source, asked.source
    words = []
    for name, value, word in (("alpha", source.alpha, written.alpha), ("tau", source.tau, written.tau)):
        number = value if isinstance(value, str) else f"{value:.6g}"
        words.append(f"{name} {number} ({word})" if isinstance(word, str) and value != word else f"{name} {number}")
    words += [f"side {gate.side}", f"the probability is that of the {source.probability}"]
    return ", ".join([*words, f"as gate `{source.kind}` has it"] if gate.of else words)


@torch.no_grad()
def measured_probabilities(trainer: DPOTrainer, gate: Gate) -> Tensor:
    """p [N] of the rejected responses of the training data, or of all their tokens; of a stream, of its first pairs.
    NaN is left out."""
    rows, collate = _rows(trainer)
    accelerator = trainer.accelerator
    size = trainer.args.per_device_train_batch_size
    starts = range(0, len(rows), size)
    turns = range(0, len(starts), accelerator.num_processes)
    was_training = trainer.model.training
    trainer.model.eval()
    found = []
    silent = trainer.args.disable_tqdm or not accelerator.is_main_process
    for turn in tqdm(turns, desc=f"Measuring gate_tau {gate.tau} on {len(rows)} pairs", disable=silent):
        own = turn + accelerator.process_index
        start = starts[own % len(starts)]  # one that has no batch left goes along with another's
        batch = trainer._prepare_inputs(collate(rows(start, start + size)))
        p = _of_batch(trainer, gate, batch)
        if own < len(starts):
            found.append(p)
    trainer.model.train(was_training)
    p = torch.cat(found) if found else torch.zeros(0, device=accelerator.device)
    if accelerator.num_processes > 1:
        p = accelerator.gather(accelerator.pad_across_processes(p, dim=0, pad_index=float("nan")))
    return p[~p.isnan()].cpu()


def _of_batch(trainer: DPOTrainer, gate: Gate, batch: Batch) -> Tensor:
    mask = batch["completion_mask"][..., 1:].chunk(2)[1]
    if gate.probability == "reference":
        log_probs = scores.reference_log_probs(trainer, batch)
    else:
        log_probs = scores.token_log_probs(trainer, trainer.model, batch).chunk(2)[1]
    return gates.counted_probabilities(gate.kind, log_probs, mask)


class _Rows:
    """Rows of a data set by their places."""

    def __init__(self, rows: Dataset | Sequence[Example]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, start: int, stop: int) -> list[Example]:
        return [self.rows[i] for i in range(start, min(stop, len(self.rows)))]


def _rows(trainer: DPOTrainer) -> tuple[_Rows, Collator]:
    data = trainer.train_dataset
    if isinstance(data, Dataset):
        return _Rows(trainer._remove_unused_columns(data, "training")), trainer.data_collator
    rows = list(data.take(STREAM_MEASURED))
    if len(rows) == STREAM_MEASURED and trainer.is_world_process_zero():
        logger.warning(
            "gate_tau: the data are a stream, so its percentile is measured on the first %d pairs of it",
            STREAM_MEASURED,
        )
    return _Rows(rows), trainer._get_collator_with_removed_columns(trainer.data_collator, "training")


class GateThresholds(TrainerCallback):
    """Has the thresholds measured when a training begins, and remembers them in its checkpoints.

    resolve: measures; known: the gate as it is; adopt: takes over tau and alpha from a checkpoint. What is kept stands
    beside the states of callbacks, not as one: a Trainer makes those anew when it restores them."""

    def __init__(self, resolve: Callable[[], None], known: Callable[[], Gate], adopt: Callable[[float, float], None]):
        self.resolve, self.known, self.adopt = resolve, known, adopt

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        kept = cast("dict[str, dict[str, float]]", state.stateful_callbacks)
        before = kept.get(THRESHOLDS_KEPT)
        if not self.known().is_resolved:
            if before:
                self.adopt(before["tau"], before["alpha"])
            else:
                if state.global_step and state.is_world_process_zero:
                    logger.warning(
                        "gate_tau %s: the checkpoint does not say what it is, so it is measured on the policy after "
                        "step %d, not on the one before the first", self.known().source.tau, state.global_step,
                    )  # fmt: skip
                self.resolve()
        tau, alpha = tau_and_alpha(self.known())
        kept[THRESHOLDS_KEPT] = {"tau": tau, "alpha": alpha}
