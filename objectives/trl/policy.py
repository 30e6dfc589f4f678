"""The stand-in for the model inside TRL's loss: same call, gated rejected log-probs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Module
from trl import DPOTrainer

from gatebench.objectives import controls, gates
from gatebench.objectives.controls import Field
from gatebench.objectives.gates import UNGATED, Gate
from gatebench.objectives.layout.trl_output import PairOutput
from gatebench.objectives.trl import layouts, scores
from gatebench.objectives.trl.collators import REFERENCE_TOKENS, Batch
from gatebench.objectives.trl.config import Gating
from gatebench.objectives.trl.steps import Step, gathered_rows, of_all_processes
from gatebench.objectives.trl.weight_log import WeightLog, mode_of

PAIRS_TO_JUDGE = 64  # after which a gate with thresholds given as numbers is known to be a constant or not


@dataclass
class GateState:
    """What a gated trainer keeps beside TRL's state.

    gate: with its thresholds as numbers once they are measured; layout_caution: why two rows a pair are used in place
    of the layout that was asked for; recent: weights of the pairs before this step, for the field of a small batch;
    unjudged: rejected probabilities of the first pairs, until thresholds that are given as numbers are judged by them;
    asked: whether the loss of a training step came by here
    """

    gating: Gating
    gate: Gate
    layout_caution: str | None = None
    step: Step | None = None
    recent: list[Tensor] = field(default_factory=list)
    unjudged: list[Tensor] | None = None
    log: WeightLog = field(default_factory=WeightLog)
    asked: bool = False

    def judge(self, fewest: int = PAIRS_TO_JUDGE) -> str | None:
        """A sentence, once, where thresholds that were given as numbers make a constant of the gate on these data: by
        the first pairs of the training itself, so that nothing is computed or drawn that would not be anyway."""
        seen = self.unjudged or []
        if not seen or sum(map(len, seen)) < fewest:
            return None
        self.unjudged = None
        return gates.constant_caution(self.gate, torch.cat(seen))


class _FusedOutput(Protocol):
    """What a model with TRL's fused head puts out, as far as it is read here; log_probs: [2B, T] or [2B, T-1]."""

    log_probs: Tensor
    aux_loss: Tensor | None


class GatedPolicy:
    """Stands in for the model inside TRL's `_compute_loss`. output: of the last call with TRL's fused head."""

    output: _FusedOutput

    def __init__(self, trainer: DPOTrainer, state: GateState, model: Module, inputs: Batch, step: Step | None) -> None:
        self.trainer, self.state, self.model, self.inputs, self.step = trainer, state, model, inputs, step

    def __call__(self, *, labels: Tensor | None = None, fused_lm_head: bool = False, **keywords: object) -> object:
        if not fused_lm_head:
            return self.model(**keywords)
        output: _FusedOutput | None = self._one_row()
        if output is None:
            output = self.model(labels=labels, fused_lm_head=True, **keywords)
        output.log_probs = self._gate(output.log_probs)
        self.output = output
        return output

    def _one_row(self) -> PairOutput | None:
        if self.state.gating.layout == "trl" or self.state.layout_caution:
            return None
        return layouts.output(self.trainer, self.model, self.inputs, self.state.gating.layout)

    def _gate(self, log_probs: Tensor) -> Tensor:
        gate, state = self.state.gate, self.state
        if gate.kind == UNGATED or not self._can_gate():
            return log_probs
        mask = self._rejected_mask()
        log_probs = log_probs[:, -mask.shape[1] :]
        chosen, rejected = log_probs.chunk(2)
        measured = self._measured(log_probs)
        g = self._weights(measured, mask)
        if state.unjudged is not None:
            state.unjudged.append(gates.counted_probabilities(gate.source.kind, measured, mask).cpu())
        mode = mode_of(self.trainer.model)
        if mode == "eval" or self.trainer.args.logging_strategy != "no":  # else nobody would ever take them
            rows = g.masked_fill(~mask, torch.nan) if g.dim() == 2 else g[:, None]
            state.log.add(mode, gathered_rows(self.trainer.accelerator, rows))
        g = (g if g.dim() == 2 else g[:, None]).to(log_probs.dtype)
        return torch.cat([chosen, gates.apply_gate(rejected, g, gate.side)])

    def _can_gate(self) -> bool:
        """An evaluation has no gradient: where the thresholds are not measured yet, or what they are compared with is
        not to be had, it is as good without weights."""
        gate = self.state.gate
        if self.trainer.model.training:
            return True
        columns = [REFERENCE_TOKENS] if REFERENCE_TOKENS in self.inputs else []
        return gate.is_resolved and (
            gate.source.probability != "reference" or scores.has_reference(self.trainer, columns)
        )

    def _weights(self, measured: Tensor, mask: Tensor) -> Tensor:
        gate, trainer = self.state.gate, self.trainer
        # by seed and step, not by what was drawn before: a resumed run shuffles as an uninterrupted one
        shuffler = torch.Generator().manual_seed(1_000_003 * trainer.args.seed + trainer.state.global_step)
        if gate.of is None or self.step is None:
            return gates.weights(gate, measured, mask, shuffler)
        self.step.field = self.step.field or self._field(self.step, gate.of, measured, mask)
        return gates.weights(gate, measured, mask, shuffler, self.step.field, self.step.micro)

    def _rejected_mask(self) -> Tensor:
        return self.inputs["completion_mask"][..., 1:].chunk(2)[1].bool()

    def _measured(self, log_probs: Tensor | None = None) -> Tensor:
        """What the gate's probability is of, [B, T]: the rejected log-probs under the reference, or under the policy,
        half of its log_probs [2B, T]. Where these are not there yet, they are computed as the loss will do it."""
        if self.state.gate.source.probability == "reference":
            return scores.reference_log_probs(self.trainer, self.inputs)
        return (self.scored() if log_probs is None else log_probs.detach()).chunk(2)[1]

    @torch.no_grad()
    def scored(self) -> Tensor:
        """Token log-probs of both responses, [2B, T], as the loss will compute them, without a gradient."""
        output = self._one_row()
        return scores.token_log_probs(self.trainer, self.model, self.inputs) if output is None else output.log_probs

    def _field(self, step: Step, of: Gate, measured: Tensor, mask: Tensor) -> Field:
        """The field of the step whose first micro-batch this is: the others are scored ahead of their losses."""
        trainer, state, device = self.trainer, self.state, measured.device
        micros = [controls.per_pair(gates.weights(of, measured, mask), mask)]
        # a dropout that the losses draw stays to be drawn
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for inputs in step.batches[1:]:
                other = GatedPolicy(trainer, state, self.model, trainer._prepare_inputs(inputs), None)
                mask = other._rejected_mask()
                micros.append(controls.per_pair(gates.weights(of, other._measured(), mask), mask))
        processes = of_all_processes(trainer.accelerator, micros)
        before, state.recent = state.recent, controls.latest(processes, state.recent)
        return controls.make_field(processes, trainer.accelerator.process_index, before, device)
