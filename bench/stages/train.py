"""One cell's preference training: GatedDPOTrainer on tokenized pairs with the stored reference."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import StageFailed
from gatebench.bench.models.source import FLOAT32, Adapter
from gatebench.bench.stages.probing import PROBES, followed
from gatebench.bench.stages.stage import (
    BYTES,
    CAUTIONS,
    FORWARD,
    FROZEN,
    TRAINING,
    Amount,
    Facts,
    Inputs,
    Report,
    Stage,
)
from gatebench.bench.stages.training import change
from gatebench.bench.stages.training.callbacks import CHECKPOINTS, Watch, every_callback, saver, watch_callback
from gatebench.bench.stages.training.following import FOLLOWED, Follower
from gatebench.bench.stages.training.resume import TRAINER
from gatebench.bench.stages.training.rows import in_numbers, training_rows
from gatebench.bench.suite.recipes import Train

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance
    from datasets import Dataset
    from transformers import TrainerCallback

    from gatebench.bench.stages.training.change import Change
    from gatebench.objectives.causal_lm import CausalLM, Tokenizer
    from gatebench.objectives.gates import Gate
    from gatebench.objectives.trl import GatedDPOTrainer

VERSION = 7
TRAIN_CURVES = "curves.parquet"
LOGGING_STEPS = 5


class Stopped(Exception):
    """Training was stopped by its watch; the stage's folder holds what it takes to go on."""


@dataclass(frozen=True)
class Spec:
    """loss: a name of the registry; parameters: its frozen parameters; gate: tau may be a percentile; dtype: the type
    that is computed in; weights, attention: ModelSource's; followed: the data whose probes are measured as it trains,
    None where the dynamics stage measures them from what recipe.keep leaves, or nothing does; profile, confidence: of
    these."""

    loss: str
    parameters: DataclassInstance
    gate: Gate
    recipe: Train
    dtype: str
    adapter: Adapter | None
    data: DataSource
    seed: int
    weights: str = field(default="", metadata={"key": "given"})
    attention: str = field(default="", metadata={"key": "given"})
    followed: DataSource | None = field(default=None, metadata={"key": "given"})
    profile: int = field(default=0, metadata={"key": "given"})
    confidence: bool = field(default=False, metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report, watch: Watch | None = None) -> Facts:
    """Train the cell into `out`. inputs: policy, and reference where the loss or the gate reads it.

    Raises Stopped where `watch` ends it before its last step."""
    import pandas
    import torch

    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import MODEL, POINTER, load_tokenizer
    from gatebench.bench.stages.reference import REFERENCE_FILE, facts_of
    from gatebench.bench.stages.training.memory import with_smaller_batches
    from gatebench.objectives.controls import small_batch_caution
    from gatebench.objectives.gates import REWEIGHTERS, UNGATED
    from gatebench.objectives.registry import coupling_caution, unanchored_caution

    recipe = spec.recipe
    tokenizer = load_tokenizer(inputs["policy"])
    pairs, dropped = Encoder(tokenizer, recipe.lengths).training_pairs(spec.data)
    scored = inputs.get("reference")  # None where neither the loss nor the gate reads the reference
    reference = pandas.read_parquet(scored / REFERENCE_FILE) if scored else None
    rows = training_rows(pairs, reference, spec.gate, getattr(spec.parameters, "ld_alpha", None))
    gate, sentence = in_numbers(spec.gate, reference)
    probes = None
    if spec.followed:
        probes = followed(tokenizer, spec.followed, recipe.lengths, profile=spec.profile, confidence=spec.confidence)
    follower = Follower(probes, inputs["policy"], spec.weights or FLOAT32, out, report) if probes else None
    given = Given(spec, gate, rows, tokenizer, inputs["policy"], out, report, watch, follower)

    def clear() -> None:
        for folder in (TRAINER, CHECKPOINTS, FOLLOWED):
            shutil.rmtree(out / folder, ignore_errors=True)

    trainer, micro = with_smaller_batches(recipe.micro_batch_size or recipe.batch_size, given.train, clear)
    if trainer.state.global_step < trainer.state.max_steps:
        raise Stopped
    finite = all(bool(torch.isfinite(parameter).all()) for parameter in trainer.model.parameters())
    steps = trainer.state.global_step
    if not finite:
        raise StageFailed(f"weights are not finite after step {steps}; {change.ADVICE}")
    moved = given.change(trainer.model)
    moved.check(steps)
    if follower:
        follower.measure(steps, 1.0, trainer.model)
        follower.measured().to_parquet(out / PROBES)
    if recipe.keep != "none":
        if follower and not spec.adapter:  # nothing is measured from them any more
            cast("torch.nn.Module", trainer.model).to(getattr(torch, spec.dtype))
        trainer.model.save_pretrained(out / MODEL)
        tokenizer.save_pretrained(out / MODEL)
    if spec.adapter and recipe.keep != "none":
        # a partial folder lies as deep in the store as a finished one, so the relative path survives the rename
        (out / POINTER).write_text(
            json.dumps({"policy": os.path.relpath(inputs["policy"], out), "weights": given.weights})
        )
    for folder in (TRAINER, FOLLOWED):
        shutil.rmtree(out / folder, ignore_errors=True)
    cautions = [
        sentence,
        trainer.layout_caution,
        coupling_caution(spec.loss, recipe.batch_size, micro),
        unanchored_caution(spec.loss, gate),
    ]
    if gate.of is not None:
        cautions.append(small_batch_caution(gate.kind, recipe.batch_size))
    without = (UNGATED, *REWEIGHTERS)  # tau and alpha
    said = [
        *filter(None, cautions), *moved.cautions("the training", steps, recipe.learning_rate),
        *(follower.cautions if follower else ()),
    ]  # fmt: skip
    history = pandas.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    history.sort_index(axis=1).to_parquet(out / TRAIN_CURVES)
    return {
        "tokens": int(trainer._total_train_tokens),
        "steps": steps,
        **moved.facts(),
        "gate": None if gate.source.kind in without else {"tau": gate.source.tau, "alpha": gate.source.alpha},
        **(facts_of(spec.data, dropped, said) if reference is None else {CAUTIONS: said}),
        "micro_batch_size": micro,
    }


@dataclass(frozen=True)
class Given:
    """All that one training needs but its micro-batch. gate: its tau a number; rows: tokenized pairs."""

    spec: Spec
    gate: Gate
    rows: Dataset
    tokenizer: Tokenizer
    policy: Path
    out: Path
    report: Report
    watch: Watch | None = None
    follower: Follower | None = None

    @property
    def weights(self) -> str:
        return self.spec.weights or FLOAT32

    def change(self, model: CausalLM) -> Change:
        """How far the trained model is from the policy that it began as."""
        import torch

        from gatebench.bench.models.loading import load_policy

        if self.spec.adapter:
            return change.of_adapter(model, torch.float32)
        return change.of_weights(load_policy(self.policy, self.weights), model)

    def train(self, micro: int) -> GatedDPOTrainer:
        """The finished trainer; goes on from the newest checkpoint in `out`, if there is one."""
        import torch
        from transformers import set_seed

        from gatebench.bench.models.loading import load_policy, lora_config
        from gatebench.bench.stages.training.arguments import arguments_of
        from gatebench.bench.stages.training.divergence import divergence_callback, has_an_end
        from gatebench.bench.stages.training.resume import checkpoint_callback, restore
        from gatebench.bench.stages.training.supervised import callback_for, without_lines
        from gatebench.objectives.layout.attention import FLEX, flex_serves
        from gatebench.objectives.registry import get_loss
        from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer

        spec, recipe, gate, loss = self.spec, self.spec.recipe, self.gate, get_loss(self.spec.loss)
        precision = torch.backends.fp32_precision  # type: ignore[attr-defined]
        arguments = GatedDPOConfig.of_gate(
            gate, output_dir=str(self.out / TRAINER), layout=recipe.layout,
            loss=spec.loss, loss_parameters=loss.values(spec.parameters), beta=loss.beta(spec.parameters) or 0.1,
            precompute_ref_log_probs=True,
            per_device_train_batch_size=micro, gradient_accumulation_steps=recipe.batch_size // micro,
            num_train_epochs=recipe.epochs, max_steps=recipe.steps or -1, max_length=recipe.max_length, seed=spec.seed,
            logging_steps=LOGGING_STEPS, save_strategy="no", save_total_limit=1, report_to=[], disable_tqdm=True,
            dataloader_pin_memory=False, bf16=spec.dtype != FLOAT32, use_cpu=not torch.cuda.is_available(),
            logging_nan_inf_filter=False, **arguments_of(recipe),
        )  # fmt: skip
        if recipe.torch_compile:  # which leaves traces in a process: TF32, and code that counts against its limit
            torch.backends.fp32_precision = precision  # type: ignore[attr-defined]
            torch._dynamo.reset()
        may_rest = has_an_end(loss, spec.parameters)
        set_seed(spec.seed)  # an adapter starts at random
        model = load_policy(self.policy, self.weights)
        advised = model.config._attn_implementation  # with which saved weights are measured
        if spec.attention:
            model.set_attn_implementation(spec.attention)
        attention = model.config._attn_implementation
        if self.follower:
            self.follower.attention = advised
        if not spec.attention and flex_serves(recipe.layout) and model._supports_flex_attn:
            model.set_attn_implementation(FLEX)
        trainer = GatedDPOTrainer(
            model=model, args=arguments, train_dataset=self.rows, processing_class=self.tokenizer,
            peft_config=lora_config(spec.adapter, model) if spec.adapter else None,
            callbacks=[
                callback_for(self.report, f"{spec.loss} x {gate.kind}"),
                divergence_callback(may_rest=may_rest, may_grow=bool(spec.adapter)),
                *self._kept(), checkpoint_callback(LOGGING_STEPS, self.out),
                *([watch_callback(self.watch)] if self.watch else []),
            ],
        )  # fmt: skip
        if trainer.layout_caution:
            model.set_attn_implementation(attention)
        point = restore(model, self.out)  # the layout was decided by the weights before the first step
        without_lines(trainer)
        trainer.train(resume_from_checkpoint=point)
        return trainer

    def _kept(self) -> list[TrainerCallback]:
        """What is measured, or saved to be measured later, as training goes."""
        every = self.spec.recipe.evaluate_every
        if self.follower:
            return [every_callback(every, self.follower.measure)]
        return [every_callback(every, saver(self.out))] if self.spec.recipe.keep == "all" else []


KINDS_A_PROBE = 12  # responses of one prompt that are followed, about


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    recipe = spec.recipe
    micro = recipe.micro_batch_size or recipe.batch_size
    width, states = recipe.lengths.max_length, recipe.states
    flops = (FROZEN if spec.adapter else TRAINING) + FORWARD * recipe.gradient_checkpointing
    units = steps_of(recipe, pairs) * recipe.batch_size
    times = checkpoints_of(recipe, pairs)
    read = times * KINDS_A_PROBE * spec.followed.probes_among(pairs) if spec.followed else 0
    slower = [name for name in ("gradient_checkpointing", "torch_compile") if getattr(recipe, name)]
    like = (recipe.lengths, recipe.batch_size, micro, recipe.layout, *slower)
    saved = {"none": 0, "final": 1, "all": times}[recipe.keep]
    kept = FLOAT32 if spec.adapter or recipe.keep == "all" else spec.dtype
    return Amount(units, 2 * width, flops, micro * 2 * width, states, saved, like,
                  held=BYTES[spec.weights or FLOAT32], written=BYTES[kept],
                  saves_adapter=spec.adapter is not None,
                  checkpointing=recipe.gradient_checkpointing, responses=2, read=read)  # fmt: skip


def steps_of(recipe: Train, pairs: int) -> int:
    """Optimizer steps of a preference training."""
    return recipe.steps or recipe.epochs * math.ceil(pairs / recipe.batch_size)


def checkpoints_of(recipe: Train, pairs: int) -> int:
    """Models whose probes are measured: those every evaluate_every steps, and the last."""
    return len(range(recipe.evaluate_every, steps_of(recipe, pairs), recipe.evaluate_every)) + 1


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    recipe = replace(spec.recipe, steps=steps, evaluate_every=-(-steps // 2))
    probes = spec.followed.shortened(steps) if spec.followed else None
    return replace(spec, recipe=recipe, data=spec.data.shortened(steps), followed=probes)


STAGE = Stage("train", VERSION, Spec, run, amount,
              facts=("gate", "steps", "micro_batch_size", "dropped", *change.FACTS), shorten=shorten)  # fmt: skip
