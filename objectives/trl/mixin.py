"""What makes a gated trainer of TRL's DPOTrainer, or of any class that is derived from it.

TRL's `_compute_loss` runs unchanged: it is handed a stand-in for the model whose `log_probs` of the rejected half pass
through the gate (policy.py). Every loss type, PEFT, gradient checkpointing, accumulation, bf16 and precomputed
references therefore work as in TRL, and with gate="none" the weights are TRL's bit for bit.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import DPOTrainer

from gatebench.objectives import controls
from gatebench.objectives.gates import RC, UNGATED, Gate
from gatebench.objectives.registry import coupling_caution, get_loss, unanchored_caution
from gatebench.objectives.reweighters import Balance
from gatebench.objectives.trl import layouts, own_loss, scores, thresholds
from gatebench.objectives.trl.collators import HARNESS_COLUMNS, Batch, Collator, with_own_columns, without_tokens
from gatebench.objectives.trl.config import GatedDPOConfig, Gating
from gatebench.objectives.trl.incentives import GivenOutput
from gatebench.objectives.trl.policy import GatedPolicy, GateState
from gatebench.objectives.trl.steps import Step
from gatebench.objectives.trl.weight_log import mode_of

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers.trainer_utils import TrainOutput

logger = logging.getLogger(__name__)
RECENT_WEIGHTS = "recent_gate_weights.safetensors"  # of a checkpoint, in order of their names
OF_CHOSEN, AVERAGES = "chosen-", "averages"  # names in it: of the chosen side's weights, and rc's log r and log r*
CARD = """
## Gate

The gradient of the rejected responses was scaled by the gate `{kind}` of gatebench: {numbers}.
"""


class GateMixin(DPOTrainer):
    """Gates the trainer that it is put before: `class Mine(GateMixin, TheirDPOTrainer)`, with args=GatedDPOConfig(...).

    Logs gate/* beside TRL's metrics. Raises ValueError at construction for a gate that cannot be computed on the data,
    and RuntimeError in the first step where the other class computes its loss without DPOTrainer's.
    """

    _tag_names: ClassVar[list[str]] = ["trl", "dpo", "gatebench"]
    args: GatedDPOConfig
    precompute_ref_logps: bool
    data_collator: Collator
    _signature_columns: list[str]
    _gating: GateState

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)
        if not isinstance(self.args, GatedDPOConfig):
            raise TypeError(f"{type(self).__name__} needs args=GatedDPOConfig(...), not TRL's DPOConfig")
        self.begin_gating(self.args.to_gating())

    def begin_gating(self, gating: Gating) -> None:
        """What a gated trainer has beside an ordinary one, and all that is said of its arguments before a step."""
        parallel = self.accelerator.parallelism_config
        if gating != Gating() and parallel is not None and parallel.non_data_parallel_size > 1:
            raise ValueError(
                "a gate, a loss or a layout of gatebench needs whole responses on every process: tensor, context and "
                "sequence parallelism share them out. Train with data parallelism (DDP, FSDP, DeepSpeed)"
            )
        self._gating = GateState(gating, gating.gate, self._loss_of)
        columns = list(self.train_dataset.column_names or ())
        if not self._reads_reference() and "ref_chosen_logps" not in columns:
            self.precompute_ref_logps = False
        self.data_collator = with_own_columns(self.data_collator, columns)
        if self.gate.reads_reference and not scores.has_reference(self, self.gate, columns):
            raise ValueError(scores.reference_missing(self.gate))
        shared_out = self.is_fsdp_enabled or is_deepspeed_zero3_enabled() or layouts.is_shared_out(self)
        if self.gate.kind == RC and self.gate.value is None and shared_out:
            raise ValueError(
                "gate rc needs the whole head on every process: FSDP and DeepSpeed's ZeRO 3 share it out. Train with "
                "DDP, or give rc a `value`"
            )
        if not self.gate.is_resolved:
            self.add_callback(thresholds.GateThresholds(self.resolve_gate, lambda: self.gate, self._adopt_thresholds))
        self._gating.layout_caution = layouts.caution(self, gating.layout)
        if gating.layout != "trl" and not self.layout_caution:
            layouts.install(self)
        for sentence in (*self._cautions(), self.layout_caution):
            self._say(sentence)

    @property
    def gate(self) -> Gate:
        """The gate, with numbers for thresholds that were written as percentiles once they are measured."""
        return self._gating.gate

    @property
    def layout_caution(self) -> str | None:
        """Why two rows a pair are used in place of the layout that was asked for."""
        return self._gating.layout_caution

    def _cautions(self) -> Iterator[str]:
        """What is said of the arguments before the first step."""
        gating = self._gating.gating
        at_once = self.args.train_batch_size
        pairs = at_once * self.args.gradient_accumulation_steps * self.accelerator.num_processes
        names = [gating.loss] if gating.loss else [f"trl:{name}" for name in self.loss_types]
        sentences = [coupling_caution(name, pairs, at_once) for name in names]
        sentences += [unanchored_caution(name, self.gate) for name in names]
        if gating.loss is not None:
            loss = get_loss(gating.loss)
            sentences.append(loss.caution(loss.make_parameters(**gating.loss_parameters)))
        if self.gate.of is not None:
            sentences.append(controls.small_batch_caution(self.gate.kind, pairs))
        return filter(None, sentences)

    def _reads_reference(self) -> bool:
        """Whether the loss does; TRL's own are taken to."""
        loss = getattr(self.args, "loss", None)
        return loss is None or get_loss(loss).reference

    # The harness hands over tokenized pairs with the stored reference; TRL's own preparation, and its
    # reference cache, which misses changes of max_length and dtype, are for data without them.
    def _prepare_dataset(self, dataset: Dataset, *arguments: object) -> Dataset:
        if "prompt_ids" in (dataset.column_names or ()):
            return dataset
        return super()._prepare_dataset(dataset, *arguments)

    def _precompute_ref_logps(self, dataset: Dataset, *arguments: object) -> Dataset:
        if "ref_chosen_logps" in (dataset.column_names or ()) or not self._reads_reference():
            return dataset
        return super()._precompute_ref_logps(dataset, *arguments)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *HARNESS_COLUMNS]))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:  # resumed, however the model is held
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        # TRL forgets the tokens it counted before the checkpoint; its last log line remembers them
        counted = [entry["num_tokens"] for entry in self.state.log_history if "num_tokens" in entry]
        self._total_train_tokens = int(counted[-1]) if counted else 0
        kept = Path(checkpoint, RECENT_WEIGHTS)
        self._remember(load_file(kept) if kept.exists() else {})

    def _remember(self, kept: dict[str, Tensor]) -> None:
        """Take over what a checkpoint keeps of the steps before it; nothing of a training that begins."""
        state, averages = self._gating, kept.get(AVERAGES)
        state.recent = [pair for name, pair in sorted(kept.items()) if name.isdecimal()]
        state.recent_chosen = [pair for name, pair in sorted(kept.items()) if name.startswith(OF_CHOSEN)]
        state.balance = None if averages is None else Balance(*averages.tolist())

    def _kept(self) -> dict[str, Tensor]:
        state = self._gating
        kept = {f"{place:03d}": pair for place, pair in enumerate(state.recent)}
        kept |= {f"{OF_CHOSEN}{place:03d}": pair for place, pair in enumerate(state.recent_chosen)}
        if state.balance:
            averages = [state.balance.log_r, state.balance.log_r_star]
            kept[AVERAGES] = torch.tensor(averages, dtype=torch.float64)
        return kept

    def _save_checkpoint(self, model: Module, trial: object) -> None:
        kept = self._kept()
        if kept and self.args.should_save:  # first, for a checkpoint is whole where the Trainer's last file is
            folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            folder.mkdir(parents=True, exist_ok=True)
            save_file(kept, folder / RECENT_WEIGHTS)
        super()._save_checkpoint(model, trial)

    def create_model_card(self, *arguments: object, **keywords: object) -> None:
        super().create_model_card(*arguments, **keywords)
        card = Path(self.args.output_dir, "README.md")
        if self.gate.kind == UNGATED or not self.is_world_process_zero() or not card.exists():
            return
        numbers = thresholds.described(self._gating.gating.gate, self.gate)
        card.write_text(card.read_text(encoding="utf-8") + CARD.format(kind=self.gate.kind, numbers=numbers), "utf-8")

    def train(self, *arguments: object, **keywords: object) -> TrainOutput:
        if self.gate.is_resolved and self.gate.compares:
            self._gating.unjudged = []
        self._remember({})
        done = super().train(*arguments, **keywords)
        self._say(self._gating.judge(fewest=1))
        return done

    def _say(self, sentence: str | None) -> None:
        if sentence and self.is_world_process_zero():
            logger.warning(sentence)

    def resolve_gate(self) -> None:
        """Turn a percentile tau and an alpha in units of tau into numbers, on the training pairs under the policy as it
        is; a training does it when it begins."""
        if not self.gate.is_resolved:
            self._gating.gate = thresholds.resolved(self, self.gate)
            self._log_thresholds()

    def _adopt_thresholds(self, tau: float, alpha: float) -> None:
        gate = self.gate
        source = replace(gate.source, tau=tau, alpha=alpha)
        self._gating.gate = source if gate.of is None else replace(gate, of=source)

    def _log_thresholds(self) -> None:
        tau, alpha = thresholds.tau_and_alpha(self.gate)
        self._metrics["train"] |= {"gate/tau": [tau], "gate/alpha": [alpha]}

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | int | None]:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._gating.step = Step(batches)
        return batches, items

    def _begin_micro_batch(self) -> Step | None:
        """The optimizer step that this loss is a part of; None in an evaluation, whose batch is all there is."""
        step = self._gating.step
        if step is None or not self.model.training:
            return None
        step.micro += 1
        if step.micro == len(step.batches) - 1:
            self._gating.step = None
        return step

    def training_step(self, *arguments: object, **keywords: object) -> Tensor:
        self._gating.asked = False
        loss: Tensor = super().training_step(*arguments, **keywords)
        if not self._gating.asked and self._gating.gating != Gating():
            raise RuntimeError(
                f"{type(self).__name__} computes its loss without DPOTrainer._compute_loss, so that gate "
                f"{self.gate.kind} does not act; a gate can be put on trainers whose loss goes through it"
            )
        return loss

    def _compute_loss(self, model: Module, inputs: Batch, return_outputs: bool) -> Tensor | tuple[Tensor, object]:
        state = self._gating
        state.asked = True
        if self.model.training:
            self.resolve_gate()  # where somebody's own loop trains
        step = self._begin_micro_batch()
        policy = GatedPolicy(self, state, model, inputs, step)
        inputs = without_tokens(inputs)
        if state.gating.loss is not None:
            return self._registered(policy, inputs, return_outputs)
        stock = self.gate.kind == UNGATED and state.gating.layout == "trl"
        found: Tensor | tuple[Tensor, object] = super()._compute_loss(
            model if stock else policy, inputs, return_outputs
        )
        self._say(state.judge())
        return found

    def _registered(self, policy: GatedPolicy, inputs: Batch, return_outputs: bool) -> Tensor | tuple[Tensor, object]:
        """A loss of ours in place of TRL's, whose pass through the model and whose metrics stay."""
        gating, precomputed = self._gating.gating, self.precompute_ref_logps
        self._gating.live = not precomputed
        # TRL would keep its reference log-probs to itself; a loss that reads them needs them, so they are computed here
        with_reference = scores.with_reference(self, inputs, self._reads_reference())
        self.precompute_ref_logps = True
        try:
            theirs = super()._compute_loss(policy, with_reference, return_outputs)
        finally:
            self.precompute_ref_logps = precomputed
        self._say(self._gating.judge())
        loss = own_loss.of_batch(self, gating, policy, with_reference)
        return (loss, theirs[1]) if return_outputs else loss

    def _loss_of(self, scored: GivenOutput, inputs: Batch) -> Tensor:
        """The loss of a micro-batch whose output is there, without a trace in what is logged."""
        inputs = without_tokens(inputs)
        if self._gating.gating.loss is not None:
            return self._own_loss_of(scored, inputs)
        mode = mode_of(self.model)
        kept, tokens = copy.deepcopy(self._metrics[mode]), self._total_train_tokens
        try:
            loss: Tensor = super()._compute_loss(scored, inputs, False)
        finally:
            self._metrics[mode], self._total_train_tokens = kept, tokens
        return loss

    def _own_loss_of(self, scored: GivenOutput, inputs: Batch) -> Tensor:
        """In the middle of TRL's own pass, which is told that the reference is there already."""
        told, self.precompute_ref_logps = self.precompute_ref_logps, not self._gating.live
        try:
            whole = scores.with_reference(self, inputs, self._reads_reference())
            return own_loss.of_batch(self, self._gating.gating, scored, whole)
        finally:
            self.precompute_ref_logps = told

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = mode_of(self.model)
        for name, value in self._gating.log.take(mode).items():
            self._metrics[mode][name] = [value]
        super().log(logs, start_time)
