"""Gate an existing TRL script: `GatedDPOConfig` and `GatedDPOTrainer` in place of TRL's two names.

    from gatebench import GatedDPOConfig, GatedDPOTrainer
    args = GatedDPOConfig(output_dir="out", gate="seq", gate_alpha=100, gate_tau="q50")
    GatedDPOTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer).train()

TRL's `_compute_loss` runs unchanged: it is handed a stand-in for the model whose `log_probs` of the
rejected half pass through the gate. Every loss type, PEFT, gradient checkpointing, accumulation, bf16 and
precomputed references therefore work as in TRL, and with gate="none" the weights are TRL's bit for bit.
This is the only file that imports trl (pinned to 1.16).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module
from transformers.trainer import TRAINER_STATE_NAME, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, has_length
from trl import DPOConfig, DPOTrainer
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import get_config_model_id, use_adapter

from gatebench.objectives import controls, gates
from gatebench.objectives.causal_lm import without_adapter
from gatebench.objectives.controls import Field
from gatebench.objectives.gates import CONTROLS, UNGATED, Gate
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
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import EffectiveBatch, PairLogProbs
from gatebench.objectives.registry import coupling_caution, get_loss

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedModel
    from transformers.trainer_utils import TrainOutput

logger = logging.getLogger(__name__)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CLOSED = 0.1
LAYOUTS = ("trl", "one_row", "packed")
PAIRS_TO_JUDGE = 64  # after which a gate with thresholds given as numbers is known to be a constant or not
TILE = 8192  # tokens of the vocabulary
STREAMED = 64  # pairs of a streamed data set that a layout is proven on
ID_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")  # TRL's names
REFERENCE_TOKENS = "ref_rejected_token_logps"
LEARNED = "{}_learned"  # which tokens of a side's ids are learned, where others stand between the assistant's
NOT_THE_MODELS = ("completion_mask", "ref_chosen_logps", "ref_rejected_logps", REFERENCE_TOKENS)  # of a batch
RECENT_WEIGHTS = "recent_gate_weights.safetensors"  # of a checkpoint, in order of their names
T = TypeVar("T")
Example: TypeAlias = dict[str, object]  # a row of the data, tokenized
Batch: TypeAlias = dict[str, Tensor]  # of TRL's collator: [chosen; rejected] rows


@dataclass
class GatedDPOConfig(DPOConfig):
    """TRL's DPOConfig with a gate, a choice of objective and a choice of layout.

    gate, gate_alpha, gate_tau, gate_side, gate_probability, gate_value, gate_of: see gates.Gate;
        gate_of is the kind of the gate that a control refers to (it takes this gate_alpha and gate_tau);
        a percentile gate_tau ("q50") is measured on the training pairs before the first step
    loss: a name of objectives.registry (dpo, ipo, cal_dpo, dpo_shift, sft, trl:NAME), in place of
        TRL's loss_type; loss_parameters: its parameters
    layout: "trl" is TRL's two rows a pair; "one_row" computes the prompt once (shared_prompt.py); "packed" is that with
        several pairs a row, for which a model with attn_implementation="flex_attention" skips what is masked
    """

    gate: str = "none"
    gate_alpha: float | str = 100.0
    gate_tau: float | str = "q50"
    gate_side: str = "both"
    gate_probability: str = "policy"
    gate_value: float | None = None
    gate_of: str | None = None
    loss: str | None = None
    loss_parameters: dict[str, object] = field(default_factory=dict)
    layout: str = "trl"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UnknownWord("layout", self.layout, LAYOUTS)
        self.to_gate()
        if self.loss is not None:
            get_loss(self.loss).make_parameters(**self.loss_parameters)
        super().__post_init__()

    def to_gate(self) -> Gate:
        """The gate these arguments describe, with all its checks."""
        alpha, tau, probability = self.gate_alpha, self.gate_tau, self.gate_probability
        of = None if self.gate_of is None else Gate(self.gate_of, alpha, tau, probability=probability)
        return Gate(self.gate, alpha, tau, self.gate_side, probability, self.gate_value, of)

    @classmethod
    def of_gate(cls, gate: Gate, **arguments: Any) -> GatedDPOConfig:
        """The arguments that describe a gate, beside others: of_gate(g).to_gate() == g."""
        source = gate.source
        return cls(
            gate=gate.kind, gate_alpha=source.alpha, gate_tau=source.tau, gate_side=gate.side,
            gate_probability=source.probability, gate_value=gate.value, gate_of=gate.of.kind if gate.of else None,
            **arguments,
        )  # fmt: skip


@dataclass
class _Step:
    """What an optimizer step takes together on this process. micro: which of its batches the loss is at; field: what a
    control draws on; effective: the step's batch over all processes. Both are made when first asked for."""

    batches: list[Batch]
    micro: int = -1
    field: Field | None = None
    effective: EffectiveBatch | None = None


class GatedDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer with a gate on the rejected gradient; logs gate/* beside TRL's metrics."""

    _tag_names: ClassVar[list[str]] = ["trl", "dpo", "gatebench"]
    precompute_ref_logps: bool
    data_collator: Callable[[list[Example]], Batch]
    _signature_columns: list[str]
    _step: _Step | None = None
    _recent: list[Tensor]  # weights of the pairs before this step, for the field of a small batch
    # rejected probabilities of the first pairs, until thresholds that are given as numbers are judged by them
    _unjudged: list[Tensor] | None = None
    layout_caution: str | None = None  # why two rows a pair are used in place of the layout that was asked for

    def __init__(
        self,
        model: str | PreTrainedModel,
        ref_model: PreTrainedModel | None = None,
        args: GatedDPOConfig | None = None,
        *arguments: object,
        **keywords: object,
    ) -> None:
        if args is None:  # as TRL: a folder named after the model
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = GatedDPOConfig(f"{name.split('/')[-1]}-DPO")
        if not isinstance(args, GatedDPOConfig):
            raise TypeError("GatedDPOTrainer needs args=GatedDPOConfig(...), not TRL's DPOConfig")
        super().__init__(model, ref_model, args, *arguments, **keywords)
        self.gate = self.args.to_gate()
        self._recent = []
        columns = self.train_dataset.column_names or ()
        if LEARNED.format("chosen") in columns:
            self.data_collator = _WithLearned(self.data_collator)
        if REFERENCE_TOKENS in columns:
            self.data_collator = _WithReferenceTokens(self.data_collator)
        self.layout_caution = self._layout_caution()
        for sentence in (*self._cautions(), self.layout_caution):
            if sentence:
                logger.warning(sentence)

    def _layout_caution(self) -> str | None:
        """By the data and the model before its first step, so that all batches and a resumed run are computed alike."""
        layout, network = self.args.layout, without_adapter(self.accelerator.unwrap_model(self.model))
        if layout == "trl":
            return None
        if self.aux_loss_enabled or self._is_vision_dataset:
            what = "has a router, whose loss TRL takes of two rows" if self.aux_loss_enabled else "reads images"
            return f"layout {layout}: {type(network).__name__} {what}; two rows a pair are used"
        more = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"": self.eval_dataset}
        data = [rows for rows in (self.train_dataset, *more.values()) if rows is not None]
        pairs = [pair for rows in data for pair in _telling_pairs(rows, self.args.max_length)]
        chosen = [pairs[i] for i in telling([tuple(map(len, pair)) for pair in pairs])]
        all_seen = all(hasattr(rows, "__len__") for rows in data)
        return layout_caution(network, chosen, layout, None if all_seen else self.args.max_length)

    def _cautions(self) -> Iterator[str]:
        """What is said of the arguments before the first step."""
        at_once = self.args.train_batch_size
        pairs = at_once * self.args.gradient_accumulation_steps * self.accelerator.num_processes
        names = [self.args.loss] if self.args.loss else [f"trl:{name}" for name in self.loss_types]
        sentences = [coupling_caution(name, pairs, at_once) for name in names]
        if self.args.loss is not None:
            loss = get_loss(self.args.loss)
            sentences.append(loss.caution(loss.make_parameters(**self.args.loss_parameters)))
        if self.gate.of is not None:
            sentences.append(controls.small_batch_caution(self.gate.kind, pairs))
        return filter(None, sentences)

    # The harness hands over tokenized pairs with the stored reference; TRL's own preparation, and its
    # reference cache, which misses changes of max_length and dtype, are for data without them.
    def _prepare_dataset(self, dataset: Dataset, *arguments: object) -> Dataset:
        if "prompt_ids" in (dataset.column_names or ()):
            return dataset
        return super()._prepare_dataset(dataset, *arguments)

    def _precompute_ref_logps(self, dataset: Dataset, *arguments: object) -> Dataset:
        if "ref_chosen_logps" in (dataset.column_names or ()):
            return dataset
        return super()._precompute_ref_logps(dataset, *arguments)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [
            *self._signature_columns, REFERENCE_TOKENS, *(LEARNED.format(side) for side in ("chosen", "rejected")),
        ]  # fmt: skip

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        # TRL forgets the tokens it counted before the checkpoint; its last log line remembers them
        state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
        counted = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
        self._total_train_tokens = int(counted[-1]) if counted else 0
        recent = Path(resume_from_checkpoint) / RECENT_WEIGHTS
        self._recent = [pair for _, pair in sorted(load_file(recent).items())] if recent.exists() else []

    def _save_checkpoint(self, model: Module, trial: object) -> None:
        if self._recent and self.args.should_save:  # first, for a checkpoint is whole where the Trainer's last file is
            folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            folder.mkdir(parents=True, exist_ok=True)
            save_file({f"{place:03d}": pair for place, pair in enumerate(self._recent)}, folder / RECENT_WEIGHTS)
        super()._save_checkpoint(model, trial)

    def train(self, *arguments: object, **keywords: object) -> TrainOutput:
        if self.gate.source.is_resolved and self.gate.source.kind not in (UNGATED, *CONTROLS):
            self._unjudged = []
        self._recent = []
        self.resolve_gate()
        done = super().train(*arguments, **keywords)
        self._judge_thresholds(fewest=1)
        return done

    def resolve_gate(self) -> None:
        """Turn a percentile tau and an alpha in units of tau into numbers, on the training pairs; `train` does it."""
        if not self.gate.is_resolved:
            p = self._rejected_probabilities()
            self.gate = gates.resolve_thresholds(self.gate, p)
            source = self.gate.source
            logger.info(
                "gate_tau %s is %.4g, gate_alpha %.4g on this data", self.args.gate_tau, source.tau, source.alpha
            )
            sentence = gates.constant_caution(self.gate, p)
            if sentence:
                logger.warning(sentence)

    def _judge_thresholds(self, fewest: int = PAIRS_TO_JUDGE) -> None:
        """Say once whether thresholds that were given as numbers make a constant of the gate on these data: by the
        first pairs of the training itself, so that nothing is computed or drawn that would not be anyway."""
        seen = self._unjudged or []
        if sum(map(len, seen)) >= fewest:
            self._unjudged = None
            sentence = gates.constant_caution(self.gate, torch.cat(seen))
            if sentence:
                logger.warning(sentence)

    @torch.no_grad()
    def _rejected_probabilities(self) -> Tensor:
        """p of every training pair's rejected response under the policy before the first step."""
        found: list[list[Tensor]] = []
        was_training = self.model.training
        self.model.eval()
        for inputs in self.get_train_dataloader():
            inputs = self._prepare_inputs(inputs)
            mask = inputs["completion_mask"][..., 1:]
            half = mask.shape[0] // 2
            log_probs = self._score(self.model, inputs)[half:]
            p = gates.probability(self.gate.source.kind, log_probs, mask[half:])
            found.append([pair.cpu().clone() for pair in controls.per_pair(p, mask[half:])])
        self.model.train(was_training)
        pairs = [pair for micro in controls.in_order(self._of_all_processes(found)) for pair in micro]
        # the samplers begin again at the end, to give every process as much
        return torch.cat(pairs[: len(self.train_dataset)] if has_length(self.train_dataset) else pairs)

    def _score(self, model: Module, inputs: Batch) -> Tensor:
        """Per-token log-probs [2B, T-1] of a batch, zero outside the responses."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        given = {name: value for name, value in inputs.items() if name not in NOT_THE_MODELS}
        with self.accelerator.autocast():
            output = model(**given, labels=labels, use_cache=False, fused_lm_head=True)
        log_probs: Tensor = output.log_probs[:, -(labels.shape[1] - 1) :]
        return log_probs

    def _of_all_processes(self, micros: list[list[Tensor]]) -> list[list[list[Tensor]]]:
        """The micro-batches of every process, a vector a pair; on several processes they are handed over by the CPU."""
        if self.accelerator.num_processes == 1:
            return [micros]
        return _gather([[pair.cpu().clone() for pair in micro] for micro in micros])

    @torch.no_grad()
    def _score_reference(self, inputs: Batch) -> Tensor:
        """Token log-probs of the rejected responses under the reference, [B, T-1]."""
        if REFERENCE_TOKENS in inputs:
            return inputs[REFERENCE_TOKENS]
        if self.ref_model is not None:
            return self._score(self.ref_model, inputs).chunk(2)[1]
        policy = self.accelerator.unwrap_model(self.model)
        if not hasattr(policy, "peft_config"):
            raise ValueError(
                "gate_probability='reference' needs the reference model (precompute_ref_log_probs=False) or the "
                f"data set's column {REFERENCE_TOKENS}, the reference log-probs of the rejected tokens"
            )
        with use_adapter(policy, "ref" if "ref" in policy.peft_config else None):
            return self._score(self.model, inputs).chunk(2)[1]

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | int | None]:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step = _Step(batches)
        return batches, items

    def _begin_micro_batch(self) -> _Step | None:
        """The optimizer step that this loss is a part of; None in an evaluation, whose batch is all there is."""
        step = self._step
        if step is None or not self.model.training:
            return None
        step.micro += 1
        if step.micro == len(step.batches) - 1:
            self._step = None
        return step

    def _compute_loss(self, model: Module, inputs: Batch, return_outputs: bool) -> Tensor | tuple[Tensor, object]:
        step = self._begin_micro_batch()
        policy = _GatedPolicy(self, model, inputs, step)
        inputs = {name: value for name, value in inputs.items() if name != REFERENCE_TOKENS}
        if self.args.loss is None:
            stock = self.gate.kind == UNGATED and self.args.layout == "trl"
            found: Tensor | tuple[Tensor, object] = super()._compute_loss(
                model if stock else policy, inputs, return_outputs
            )
            return found
        with_reference = inputs
        precomputed = self.precompute_ref_logps
        if not precomputed:
            # TRL would keep its reference log-probs to itself; ours needs them, so they are computed once here
            chosen, rejected = self.compute_ref_log_probs(self.ref_model or model, inputs)
            with_reference = {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
            self.precompute_ref_logps = True
        try:
            theirs = super()._compute_loss(policy, with_reference, return_outputs)
        finally:
            self.precompute_ref_logps = precomputed
        loss = self._registered_loss(policy.log_probs, with_reference, step)
        return (loss, theirs[1]) if return_outputs else loss

    def _registered_loss(self, log_probs: Tensor, inputs: Batch, step: _Step | None) -> Tensor:
        loss = get_loss(self.args.loss)
        mask = inputs["completion_mask"][..., 1:]
        sums = torch.float32 if log_probs.device.type == "mps" else loss.sums  # Apple's GPUs have no float64
        chosen, rejected = log_probs.sum(dim=1, dtype=sums).chunk(2)
        chosen_tokens, rejected_tokens = mask.sum(dim=1).chunk(2)
        whole = None if step is None else self._effective_batch(step)
        finished = self.state.global_step / max(1, self.state.max_steps)
        pairs = PairLogProbs(
            chosen, rejected, inputs["ref_chosen_logps"], inputs["ref_rejected_logps"],
            chosen_tokens, rejected_tokens, min(1.0, finished) if self.model.training else 1.0, whole,
        )  # fmt: skip
        per_pair: Tensor = loss.function(pairs, loss.make_parameters(**self.args.loss_parameters))
        mean: Tensor = per_pair.mean().to(log_probs.dtype)
        if step is None or whole is None:
            return mean
        # the means of micro-batches and processes are averaged: where these differ in size, not every pair counts alike
        share: float = len(chosen) * len(step.batches) * self.accelerator.num_processes / whole.pairs
        return mean * share

    def _effective_batch(self, step: _Step) -> EffectiveBatch | None:
        """The step's batch over all micro-batches and processes; None where this process takes it at once."""
        if len(step.batches) == 1 and self.accelerator.num_processes == 1:
            return None
        if step.effective is None:
            masks = [batch["completion_mask"][: len(batch["completion_mask"]) // 2, 1:] for batch in step.batches]
            counts = torch.stack([torch.tensor([len(m), int(m.sum())]) for m in masks]).sum(dim=0)
            counts = self.accelerator.reduce(counts.to(self.accelerator.device), "sum")
            step.effective = EffectiveBatch(int(counts[0]), counts[1])
        return step.effective

    def _log_gate(self, g: Tensor) -> None:
        """Mean, quantiles and share of nearly closed weights of one batch, into TRL's metrics."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        g = g.float().flatten()
        if self.accelerator.num_processes > 1:  # whose token gates have weights of other numbers
            g = torch.cat(_gather(g.cpu()))
        metrics["gate/mean"].append(g.mean().item())
        metrics["gate/closed"].append((g < CLOSED).float().mean().item())
        levels = torch.quantile(g, torch.tensor(QUANTILES, device=g.device)).tolist()
        for quantile, value in zip(QUANTILES, levels, strict=True):
            metrics[f"gate/q{round(100 * quantile):02d}"].append(value)


class _WithLearned:
    """TRL's collator, with completion_mask [2B, T] zero on tokens of a completion that are not the assistant's."""

    def __init__(self, collator: Callable[[list[Example]], Batch]) -> None:
        self.collator = collator

    def __call__(self, examples: list[Example]) -> Batch:
        batch = self.collator(examples)
        sides = [example[LEARNED.format(side)] for side in ("chosen", "rejected") for example in examples]
        for row, own in zip(batch["completion_mask"], sides, strict=True):
            places = row.nonzero().squeeze(1)
            row[places] = torch.tensor(own, dtype=row.dtype)[: len(places)]
        return batch


def _gather(value: T) -> list[T]:
    """The value of every process, in the order of their numbers."""
    found: list[T | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return cast("list[T]", found)


class _WithReferenceTokens:
    """TRL's collator, plus the stored reference log-probs of the rejected tokens at their places, [B, T-1]."""

    def __init__(self, collator: Callable[[list[Example]], Batch]) -> None:
        self.collator = collator

    def __call__(self, examples: list[Example]) -> Batch:
        batch = self.collator(examples)
        rejected = batch["completion_mask"][len(examples) :, 1:]
        placed = torch.zeros(rejected.shape)
        for row, mask, example in zip(placed, rejected.bool(), examples, strict=True):
            row[mask] = torch.tensor(example[REFERENCE_TOKENS])[: int(mask.sum())]
        return {**batch, REFERENCE_TOKENS: placed}


class _FusedOutput(Protocol):
    """What a model with TRL's fused head puts out, as far as the gate changes it: [2B, T] or [2B, T-1]."""

    log_probs: Tensor


class _GatedPolicy:
    """Stands in for the model inside TRL's `_compute_loss`: same call, gated rejected log-probs."""

    def __init__(self, trainer: GatedDPOTrainer, model: Module, inputs: Batch, step: _Step | None) -> None:
        self.trainer, self.model, self.inputs, self.step = trainer, model, inputs, step

    def __call__(self, *, labels: Tensor | None = None, fused_lm_head: bool = False, **keywords: object) -> object:
        if not fused_lm_head:
            return self.model(**keywords)
        output: _FusedOutput | None = self._one_row()
        if output is None:
            output = self.model(labels=labels, fused_lm_head=True, **keywords)
        output.log_probs = self.log_probs = self._gate(output.log_probs)
        return output

    def _one_row(self) -> PairOutput | None:
        if self.trainer.args.layout == "trl" or self.trainer.layout_caution:
            return None
        accelerator = self.trainer.accelerator
        network = without_adapter(accelerator.unwrap_model(self.model))
        return one_row_output(network, self.inputs, self.trainer.args.layout, accelerator.autocast, _tiled_head)

    def _gate(self, log_probs: Tensor) -> Tensor:
        gate = self.trainer.gate
        if gate.kind == UNGATED:
            return log_probs
        mask = self._rejected_mask()
        log_probs = log_probs[:, -mask.shape[1] :]
        chosen, rejected = log_probs.chunk(2)
        measured = self._measured(log_probs)
        # by seed and step, not by what was drawn before: a resumed run shuffles as an uninterrupted one
        shuffler = torch.Generator().manual_seed(1_000_003 * self.trainer.args.seed + self.trainer.state.global_step)
        if gate.of is None or self.step is None:
            g = gates.weights(gate, measured, mask, shuffler)
        else:
            self.step.field = self.step.field or self._field(self.step, gate.of, measured, mask)
            g = gates.weights(gate, measured, mask, shuffler, self.step.field, self.step.micro)
        if self.trainer._unjudged is not None:
            self.trainer._unjudged.append(gates.counted_probabilities(gate.source.kind, measured, mask).cpu())
            self.trainer._judge_thresholds()
        self.trainer._log_gate(g[mask] if g.dim() == 2 else g)
        g = (g if g.dim() == 2 else g[:, None]).to(log_probs.dtype)
        return torch.cat([chosen, gates.apply_gate(rejected, g, gate.side)])

    def _rejected_mask(self) -> Tensor:
        return self.inputs["completion_mask"][..., 1:].chunk(2)[1].bool()

    def _measured(self, log_probs: Tensor | None = None) -> Tensor:
        """What the gate's probability is of, [B, T]: the rejected log-probs under the reference, or under the policy,
        half of its log_probs [2B, T]. Where these are not there yet, they are computed as the loss will do it."""
        if self.trainer.gate.source.probability == "reference":
            return self.trainer._score_reference(self.inputs)
        if log_probs is None:
            with torch.no_grad():
                output = self._one_row()
                log_probs = self.trainer._score(self.model, self.inputs) if output is None else output.log_probs
        return log_probs.detach().chunk(2)[1]

    def _field(self, step: _Step, of: Gate, measured: Tensor, mask: Tensor) -> Field:
        """The field of the step whose first micro-batch this is: the others are scored ahead of their losses."""
        trainer, device = self.trainer, measured.device
        micros = [controls.per_pair(gates.weights(of, measured, mask), mask)]
        # a dropout that the losses draw stays to be drawn
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for inputs in step.batches[1:]:
                other = _GatedPolicy(trainer, self.model, trainer._prepare_inputs(inputs), None)
                mask = other._rejected_mask()
                micros.append(controls.per_pair(gates.weights(of, other._measured(), mask), mask))
        processes = trainer._of_all_processes(micros)
        before, trainer._recent = trainer._recent, controls.latest(processes, trainer._recent)
        return controls.make_field(processes, trainer.accelerator.process_index, before, device)


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


__all__ = ["GatedDPOConfig", "GatedDPOTrainer"]
