"""The stand-in for the model inside TRL's loss: same call, gated log-probs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import Module
from trl import DPOTrainer

from gatebench.objectives import controls, gates, reweighters
from gatebench.objectives.controls import Field
from gatebench.objectives.gate_fit import constant_caution
from gatebench.objectives.gates import CLIP, HUMANLINE, RC, UNGATED, Gate
from gatebench.objectives.reweighters import Balance, Sides
from gatebench.objectives.trl import incentives, layouts, scores
from gatebench.objectives.trl.collators import Batch
from gatebench.objectives.trl.config import Gating
from gatebench.objectives.trl.incentives import GivenOutput, LossOf
from gatebench.objectives.trl.scores import FusedOutput
from gatebench.objectives.trl.steps import Step, gathered_rows, of_all_processes
from gatebench.objectives.trl.weight_log import WeightLog, mode_of

PAIRS_TO_JUDGE = 64  # after which a gate with thresholds given as numbers is known to be a constant or not


@dataclass
class GateState:
    """What a gated trainer keeps beside TRL's state.

    loss_of: the loss of a micro-batch from a model's output; gate: with its thresholds as numbers once they are
    measured; layout_caution: why two rows a pair are used in place of the layout that was asked for; recent,
    recent_chosen: weights of the pairs before this step, a side each, for the field of a small batch; balance: rc's
    averages; unjudged: rejected probabilities of the first pairs, until thresholds that are given as numbers are judged
    by them; asked: whether the loss of a training step came by here; live: whether the reference is read as it trains
    """

    gating: Gating
    gate: Gate
    loss_of: LossOf
    layout_caution: str | None = None
    step: Step | None = None
    recent: list[Tensor] = field(default_factory=list)
    recent_chosen: list[Tensor] = field(default_factory=list)
    balance: Balance | None = None
    unjudged: list[Tensor] | None = None
    log: WeightLog = field(default_factory=WeightLog)
    asked: bool = False
    live: bool = False

    def judge(self, fewest: int = PAIRS_TO_JUDGE) -> str | None:
        """A sentence, once, where thresholds that were given as numbers make a constant of the gate on these data: by
        the first pairs of the training itself, so that nothing is computed or drawn that would not be anyway."""
        seen = self.unjudged or []
        if not seen or sum(map(len, seen)) < fewest:
            return None
        self.unjudged = None
        return constant_caution(self.gate, torch.cat(seen))


class GatedPolicy:
    """Stands in for the model inside TRL's `_compute_loss`.

    output: of the last call with TRL's fused head; measured: [B, T] the log-probs that its gate's probability is of."""

    output: FusedOutput
    measured: Tensor

    def __init__(self, trainer: DPOTrainer, state: GateState, model: Module, inputs: Batch, step: Step | None) -> None:
        self.trainer, self.state, self.model, self.inputs, self.step = trainer, state, model, inputs, step

    def __call__(self, *, labels: Tensor | None = None, fused_lm_head: bool = False, **keywords: object) -> object:
        if not fused_lm_head:
            return self.model(**keywords)
        output: FusedOutput | None = self._one_row()
        if output is None:
            output = self.model(labels=labels, fused_lm_head=True, **keywords)
        output.log_probs = self._gate(output)
        self.output = output
        return output

    def _one_row(self) -> FusedOutput | None:
        if self.state.gating.layout == "trl" or self.state.layout_caution:
            return None
        return layouts.output(self.trainer, self.model, self.inputs, self.state.gating.layout)

    def _gate(self, output: FusedOutput) -> Tensor:
        gate, state = self.state.gate, self.state
        if gate.kind == UNGATED or not self._can_gate():
            return output.log_probs
        mask = self._mask()
        log_probs = output.log_probs[:, -mask.shape[1] :]
        chosen, rejected = log_probs.chunk(2)
        chosen_mask, rejected_mask = mask.chunk(2)
        own = self._own(gate if gate.value is not None else gate.source, output)
        if state.unjudged is not None:
            state.unjudged.append(gates.counted_probabilities(gate.source.kind, self.measured, rejected_mask).cpu())
        fields = self._fields(own)
        found = self._weights(own.rejected, rejected_mask, fields[0], "rejected")
        mode = mode_of(self.trainer.model)
        logged = mode == "eval" or self.trainer.args.logging_strategy != "no"  # else nobody would ever take them
        if logged:
            state.log.add(mode, self._rows(found, rejected_mask))
        rejected = gates.apply_gate(rejected, _wide(found, log_probs), gate.side)
        if own.chosen is not None:
            found = self._weights(own.chosen, chosen_mask, fields[1], "chosen")
            if logged:
                state.log.add_chosen(mode, self._rows(found, chosen_mask))
            chosen = gates.apply_gate(chosen, _wide(found, log_probs))
        if gate.kind == HUMANLINE:
            return self._clamped(output.log_probs)
        return torch.cat([chosen, rejected])

    def _clamped(self, log_probs: Tensor) -> Tensor:
        """What a loss reads of token log-probs, [2B, T], where the gate clamps them."""
        gate = self.state.gate
        if gate.kind != HUMANLINE or not self._can_gate():
            return log_probs
        own = log_probs[:, -self._mask().shape[1] :]
        return reweighters.clamped(own, scores.reference_of_both(self.trainer, self.inputs), gate.band)

    def _rows(self, g: Tensor, mask: Tensor) -> Tensor:
        """Weights of this micro-batch over all processes, for the log."""
        rows = g.masked_fill(~mask, torch.nan) if g.dim() == 2 else g[:, None]
        return gathered_rows(self.trainer.accelerator, rows)

    def _can_gate(self) -> bool:
        """An evaluation has no gradient: where the thresholds are not measured yet, or what they are compared with is
        not to be had, it is as good without weights; so it is where they follow from the gradients."""
        gate = self.state.gate
        if self.trainer.model.training:
            return True
        if gate.source.kind in (CLIP, RC):
            return False
        return gate.is_resolved and (not gate.reads_reference or scores.has_reference(self.trainer, gate, self.inputs))

    def _mask(self) -> Tensor:
        """[2B, T-1]"""
        return self.inputs["completion_mask"][..., 1:].bool()

    def _ahead(self) -> FusedOutput:
        """What the model puts out, computed as the loss will do it."""
        with torch.no_grad():
            return self._one_row() or scores.fused_output(self.trainer, self.model, self.inputs)

    def _own(self, gate: Gate, output: FusedOutput | None = None) -> Sides:
        """The weights of a gate that draws on no field. output: of the model, computed where it is not there yet."""
        mask = self._mask().chunk(2)[1]
        if gate.compares and gate.probability == "reference":
            self.measured = scores.reference_log_probs(self.trainer, self.inputs)
            return Sides(gates.weights(gate, self.measured, mask))
        output = output or self._ahead()
        if gate.kind == CLIP and gate.bound is not None:
            return Sides(reweighters.clip_weights(self._incentives(output)[1], gate.bound))
        if gate.kind == RC:
            alpha = torch.full((len(mask),), gate.value or self._alpha(output), device=mask.device)
            return Sides(1 / alpha, alpha)
        log_probs = output.log_probs.detach()[:, -mask.shape[1] :]
        if gate.kind == HUMANLINE:
            reference = scores.reference_of_both(self.trainer, self.inputs)
            chosen, rejected = reweighters.inside(log_probs, reference, gate.band).float().chunk(2)
            return Sides(rejected, chosen)
        self.measured = log_probs.chunk(2)[1]
        return Sides(gates.weights(gate, self.measured, mask))

    def _incentives(self, output: FusedOutput) -> tuple[Tensor, Tensor]:
        registered = self.state.gating.loss is not None
        given = GivenOutput(output, self.step, self.log_probs_of)
        return incentives.of_pairs(self.trainer, self.state.loss_of, given, self.inputs, registered)

    def _weights(self, own: Tensor, mask: Tensor, field: Field | None, side: str) -> Tensor:
        """Of a micro-batch's side, from those of the gate that a control refers to."""
        trainer = self.trainer
        # by seed and step, not by what was drawn before: a resumed run shuffles as an uninterrupted one
        seed = 1_000_003 * trainer.args.seed + trainer.state.global_step
        shuffler = torch.Generator().manual_seed(seed if side == "rejected" else -1 - seed)
        return gates.controlled(self.state.gate, own, mask, shuffler, field, self.step.micro if self.step else 0)

    def _others(self, step: Step | None) -> Iterator[GatedPolicy]:
        """Of the micro-batches after the first of a step, which are scored ahead of their losses; after that of the
        first, with which a loss takes what it does of the whole step."""
        if step is None:
            return
        for micro, inputs in enumerate(step.batches[1:], 1):
            there = replace(step, micro=micro)
            yield GatedPolicy(self.trainer, self.state, self.model, self.trainer._prepare_inputs(inputs), there)

    def _undrawn(self) -> AbstractContextManager[None]:
        """In which a dropout that the losses draw stays to be drawn."""
        device = self.trainer.accelerator.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])

    def log_probs_of(self, inputs: Batch) -> Tensor:
        """Token log-probs of both responses of another batch, [2B, T], as a loss will compute them, without a
        gradient."""
        other = GatedPolicy(self.trainer, self.state, self.model, inputs, None)
        return other._clamped(other._ahead().log_probs)

    def _fields(self, own: Sides) -> tuple[Field | None, Field | None]:
        """What a control draws on at this step, of the rejected and of the chosen side; own: of the step's first
        micro-batch."""
        gate, step = self.state.gate, self.step
        if gate.of is None or step is None:
            return None, None
        if step.fields is None:
            policies = [self, *self._others(step)]
            with self._undrawn():
                found = [own, *(other._own(gate.of) for other in policies[1:])]
            masks = [policy._mask().chunk(2) for policy in policies]
            rejected = [controls.per_pair(w.rejected, mask[1]) for w, mask in zip(found, masks, strict=True)]
            chosen = [
                controls.per_pair(w.chosen, mask[0])
                for w, mask in zip(found, masks, strict=True) if w.chosen is not None
            ]  # fmt: skip
            state = self.state
            of_rejected, state.recent = self._field(rejected, state.recent)
            if chosen:
                of_chosen, state.recent_chosen = self._field(chosen, state.recent_chosen)
            step.fields = of_rejected, of_chosen if chosen else None
        return step.fields

    def _field(self, micros: list[list[Tensor]], before: list[Tensor]) -> tuple[Field, list[Tensor]]:
        """Of one side, and what a later step may need of it."""
        accelerator = self.trainer.accelerator
        processes = of_all_processes(accelerator, micros)
        made = controls.make_field(processes, accelerator.process_index, before, accelerator.device)
        return made, controls.latest(processes, before)

    def _alpha(self, output: FusedOutput) -> float:
        """Of rc at this step; output: of its first micro-batch."""
        step, state = self.step, self.state
        if step is not None and step.alpha is not None:
            return step.alpha
        first = self._pull(output)
        others = list(self._others(step))
        with self._undrawn():
            pulls = [first, *(other._pull(other._ahead()) for other in others)]
            gradients = (incentives.sides_gradients(self.trainer, policy.inputs) for policy in (self, *others))
            norms = incentives.norms_over_processes(self.trainer, gradients)
        chosen, rejected = self.trainer.accelerator.reduce(torch.stack(pulls).sum(dim=0), "sum").tolist()
        state.balance = reweighters.balance(state.balance, (chosen, rejected), norms)
        alpha = state.balance.alpha if state.balance else 1.0
        if step is not None:
            step.alpha = alpha
        return alpha

    def _pull(self, output: FusedOutput) -> Tensor:
        """The sums of |C| and of |R| over the pairs of this micro-batch, [2]."""
        return torch.stack([side.double().abs().sum() for side in self._incentives(output)])


def _wide(g: Tensor, like: Tensor) -> Tensor:
    """Weights a pair or a token as those of tokens, in the type of the log-probs."""
    return (g if g.dim() == 2 else g[:, None]).to(like.dtype)
