"""One row a pair, or several pairs a row, in place of TRL's two rows: whether a training can, and a batch's output."""

from __future__ import annotations

from datasets import Dataset, IterableDataset
from torch import Tensor
from torch.nn import Module
from trl import DPOTrainer
from trl.kernels import ChunkedLogProbFunction

from gatebench.objectives.causal_lm import without_adapter
from gatebench.objectives.layout.head import ScaledHead
from gatebench.objectives.layout.trl_output import (
    REPORTED,
    HeadOutputs,
    PairOutput,
    TokenPair,
    layout_caution,
    one_row_output,
    telling,
)
from gatebench.objectives.trl.collators import Batch

TILE = 8192  # tokens of the vocabulary
STREAMED = 64  # pairs of a streamed data set that a layout is proven on
ID_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")  # TRL's names


def caution(trainer: DPOTrainer, layout: str) -> str | None:
    """By the data and the model before its first step, so that all batches and a resumed run are computed alike."""
    network = without_adapter(trainer.accelerator.unwrap_model(trainer.model))
    if layout == "trl":
        return None
    if trainer.aux_loss_enabled or trainer._is_vision_dataset:
        what = "has a router, whose loss TRL takes of two rows" if trainer.aux_loss_enabled else "reads images"
        return f"layout {layout}: {type(network).__name__} {what}; two rows a pair are used"
    more = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": trainer.eval_dataset}
    data = [rows for rows in (trainer.train_dataset, *more.values()) if rows is not None]
    pairs = [pair for rows in data for pair in _telling_pairs(rows, trainer.args.max_length)]
    chosen = [pairs[i] for i in telling([tuple(map(len, pair)) for pair in pairs])]
    all_seen = all(hasattr(rows, "__len__") for rows in data)
    return layout_caution(network, chosen, layout, None if all_seen else trainer.args.max_length)


def output(trainer: DPOTrainer, model: Module, inputs: Batch, layout: str) -> PairOutput | None:
    """Of a trainer without a caution; None where the batch needs two rows."""
    network = without_adapter(trainer.accelerator.unwrap_model(model))
    return one_row_output(network, inputs, layout, trainer.accelerator.autocast, _tiled_head)


def _telling_pairs(rows: Dataset | IterableDataset, max_length: int | None) -> list[TokenPair]:
    """Of a tokenized data set, without reading more of it than lengths; responses are cut as the collator cuts them."""
    if hasattr(rows, "__len__"):
        table = rows.select_columns(list(ID_COLUMNS)).with_format("arrow")[:]
        lengths = [[n for part in table[name].chunks for n in part.value_lengths().to_pylist()] for name in ID_COLUMNS]
    else:  # a stream
        rows = list(rows.take(STREAMED))
        lengths = [[len(row[name]) for row in rows] for name in ID_COLUMNS]
    pairs = []
    for i in telling(list(zip(*lengths, strict=True))):
        prompt, chosen, rejected = (rows[i][name] for name in ID_COLUMNS)
        room = None if max_length is None else max(0, max_length - len(prompt))
        pairs.append((prompt, chosen[:room], rejected[:room]))
    return pairs


def _tiled_head(head: ScaledHead, states: Tensor, targets: Tensor) -> HeadOutputs:
    """TRL's own head, for one_row_output: tiles of the vocabulary, computed again in the backward pass."""
    log_probs, entropy, _, mean, top = ChunkedLogProbFunction.apply(
        states, head.weight, head.bias, targets, 1.0, TILE, head.softcap, head.scale, REPORTED
    )
    return log_probs, entropy, mean, top
