"""One row a pair, or several pairs a row, in place of TRL's two rows: whether a training can, and a batch's output."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from types import MethodType
from typing import cast

from accelerate.utils import broadcast_object_list
from datasets import Dataset, IterableDataset
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import Module
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import DPOTrainer
from trl.kernels import ChunkedLogProbFunction

from gatebench.objectives.causal_lm import CausalLM, without_adapter
from gatebench.objectives.layout.head import ScaledHead
from gatebench.objectives.layout.trl_output import (
    REPORTED,
    HeadOutputs,
    LaidOut,
    PairOutput,
    TokenPair,
    lay_out_batch,
    layout_caution,
    outputs_of,
    telling,
)
from gatebench.objectives.trl.collators import Batch

logger = logging.getLogger(__name__)
TILE = 8192  # tokens of the vocabulary
STREAMED = 64  # pairs of a streamed data set that a layout is proven on
ID_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")  # TRL's names


def caution(trainer: DPOTrainer, layout: str) -> str | None:
    """Why two rows a pair are used in place of a layout; None where it was proven to give what TRL's do.

    By the data and the model before its first step, so that all batches and a resumed run are computed alike. The word
    of the first process counts for all: others may hold no weights yet.
    """
    if layout == "trl":
        return None
    sentence = _caution(trainer, layout) if trainer.accelerator.is_main_process else None
    found: list[str | None] = broadcast_object_list([sentence])
    return found[0]


def _caution(trainer: DPOTrainer, layout: str) -> str | None:
    network = without_adapter(trainer.accelerator.unwrap_model(trainer.model))
    what = next(_against(trainer), None)
    if what:
        return f"layout {layout}: {type(network).__name__} {what}; two rows a pair are used"
    more = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": trainer.eval_dataset}
    data = [rows for rows in (trainer.train_dataset, *more.values()) if rows is not None]
    pairs = [pair for rows in data for pair in _telling_pairs(rows, trainer.args.max_length)]
    chosen = [pairs[i] for i in telling([tuple(map(len, pair)) for pair in pairs])]
    all_seen = all(hasattr(rows, "__len__") for rows in data)
    return layout_caution(network, chosen, layout, None if all_seen else trainer.args.max_length)


def _against(trainer: DPOTrainer) -> Iterator[str]:
    """What is known of a training before its model is asked."""
    adapters = getattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config", {}).values()
    if trainer.aux_loss_enabled:
        yield "has a router, whose loss TRL takes of two rows"
    if trainer._is_vision_dataset:
        yield "reads images"
    if any(adapter.is_prompt_learning for adapter in adapters):
        yield "has virtual tokens before its rows, which an adapter learns"
    if trainer.use_weighting:
        yield "is weighted by all words' probabilities (use_weighting), which the layout does not keep"
    if trainer.args.torch_compile:
        yield "is compiled, anew for every shape of a row"
    if is_deepspeed_zero3_enabled() or is_shared_out(trainer):
        yield "was loaded in parts on several processes, so that nothing can be proven on it"


def is_shared_out(trainer: DPOTrainer) -> bool:
    """Whether each process holds a part of every parameter, so that all go through the model together."""
    return any(isinstance(parameter, DTensor) for parameter in trainer.model.parameters())


def install(trainer: DPOTrainer) -> None:
    """Let the network be called with a batch that is laid out: through whatever wraps it, so that processes share
    gradients and parameters as with any other call."""
    network = cast(Module, without_adapter(trainer.accelerator.unwrap_model(trainer.model)))
    plain = network.forward

    @functools.wraps(type(network).forward)  # whose signature `generate` reads
    def forward(self: CausalLM, *arguments: object, laid_out: LaidOut | None = None, **keywords: object) -> object:
        return plain(*arguments, **keywords) if laid_out is None else outputs_of(self, laid_out, _tiled_head)

    network.forward = MethodType(forward, network)


def output(trainer: DPOTrainer, model: Module, inputs: Batch, layout: str) -> PairOutput | None:
    """Of a trainer without a caution; None where the batch needs two rows."""
    network = without_adapter(trainer.accelerator.unwrap_model(model))
    # where parameters are shared out, a process that went through the model once more would wait for the others
    shared_out = trainer.is_fsdp_enabled or is_shared_out(trainer)
    batch = lay_out_batch(network, inputs, layout, in_one_pass=shared_out)
    if isinstance(batch, str):
        logger.warning_once(f"layout {layout}: {batch}; two rows a pair are used for such batches")  # type: ignore[attr-defined]
        return None
    return PairOutput(*model(laid_out=batch))


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
    """TRL's own head, for outputs_of: tiles of the vocabulary, computed again in the backward pass."""
    weight, bias = (part.full_tensor() if isinstance(part, DTensor) else part for part in (head.weight, head.bias))
    log_probs, entropy, _, mean, top = ChunkedLogProbFunction.apply(
        states, weight, bias, targets, 1.0, TILE, head.softcap, head.scale, REPORTED
    )
    return log_probs, entropy, mean, top
