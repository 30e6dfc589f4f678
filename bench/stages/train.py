"""One cell's preference training: GatedDPOTrainer on tokenized pairs with the stored reference."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import StageFailed
from gatebench.bench.models.source import FLOAT32, Adapter
from gatebench.bench.stages.stage import CAUTIONS, TRAINING, Amount, Facts, Inputs, Report, Stage
from gatebench.bench.stages.training import change
from gatebench.bench.stages.training.callbacks import CHECKPOINTS, Watch, save_callback, watch_callback
from gatebench.bench.stages.training.resume import TRAINER
from gatebench.bench.suite.recipes import Train

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance
    from datasets import Dataset

    from gatebench.bench.stages.training.change import Change
    from gatebench.objectives.causal_lm import CausalLM, Tokenizer
    from gatebench.objectives.gates import Gate
    from gatebench.objectives.trl import GatedDPOTrainer

VERSION = 6
TRAIN_CURVES = "curves.parquet"
LOGGING_STEPS = 5


class Stopped(Exception):
    """Training was stopped by its watch; the stage's folder holds what it takes to go on."""


@dataclass(frozen=True)
class Spec:
    """loss: a name of the registry; parameters: its frozen parameters; gate: tau may be a percentile; dtype: the type
    that is computed in; weights, attention: ModelSource's."""

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


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report, watch: Watch | None = None) -> Facts:
    """Train the cell into `out`. Raises Stopped where `watch` ends it before its last step."""
    import pandas
    import torch
    from datasets import Dataset

    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import MODEL, POINTER, load_tokenizer
    from gatebench.bench.stages.reference import PAIR_SIDES, REFERENCE_FILE
    from gatebench.bench.stages.training.memory import with_smaller_batches
    from gatebench.objectives import gates
    from gatebench.objectives.controls import small_batch_caution
    from gatebench.objectives.gates import UNGATED
    from gatebench.objectives.registry import coupling_caution
    from gatebench.objectives.trl.collators import LEARNED, REFERENCE_TOKENS

    recipe = spec.recipe
    tokenizer = load_tokenizer(inputs["policy"])
    pairs, _ = Encoder(tokenizer, recipe.lengths).training_pairs(spec.data)
    reference = pandas.read_parquet(inputs["reference"] / REFERENCE_FILE)
    rows = Dataset.from_dict({
        "prompt_ids": [pair.prompt for pair in pairs],
        "chosen_ids": [pair.chosen for pair in pairs],
        "rejected_ids": [pair.rejected for pair in pairs],
        "ref_chosen_logps": [float(sum(tokens)) for tokens in reference["chosen"]],
        "ref_rejected_logps": [float(sum(tokens)) for tokens in reference["rejected"]],
    })  # fmt: skip
    if any(pair.learned for pair in pairs):
        for side in PAIR_SIDES:
            rows = rows.add_column(LEARNED.format(side), [pair.own(side) for pair in pairs])
    if spec.gate.source.probability == "reference":
        rows = rows.add_column(REFERENCE_TOKENS, [list(map(float, tokens)) for tokens in reference["rejected"]])
    gate, sentence = spec.gate, None
    if gate.source.kind not in (UNGATED, "constant"):
        p = rejected_probabilities(gate.source.kind, reference["rejected"])
        gate = gates.resolve_thresholds(gate, p)
        sentence = gates.constant_caution(gate, p)
    given = Given(spec, gate, rows, tokenizer, inputs["policy"], out, report, watch)

    def clear() -> None:
        for folder in (TRAINER, CHECKPOINTS):
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
    trainer.model.save_pretrained(out / MODEL)
    tokenizer.save_pretrained(out / MODEL)
    if spec.adapter:
        # a partial folder lies as deep in the store as a finished one, so the relative path survives the rename
        (out / POINTER).write_text(
            json.dumps({"policy": os.path.relpath(inputs["policy"], out), "weights": given.weights})
        )
    shutil.rmtree(out / TRAINER, ignore_errors=True)
    cautions = [sentence, trainer.layout_caution, coupling_caution(spec.loss, recipe.batch_size, micro)]
    if gate.of is not None:
        cautions.append(small_batch_caution(gate.kind, recipe.batch_size))
    history = pandas.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    history.sort_index(axis=1).to_parquet(out / TRAIN_CURVES)
    return {
        "tokens": int(trainer._total_train_tokens),
        "steps": steps,
        **moved.facts(),
        "gate": None if gate.kind == UNGATED else {"tau": gate.source.tau, "alpha": gate.source.alpha},
        CAUTIONS: [*filter(None, cautions), *moved.cautions("the training", steps, recipe.learning_rate)],
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

        spec, recipe, gate = self.spec, self.spec.recipe, self.gate
        precision = torch.backends.fp32_precision  # type: ignore[attr-defined]
        arguments = GatedDPOConfig.of_gate(
            gate, output_dir=str(self.out / TRAINER), layout=recipe.layout,
            loss=spec.loss, loss_parameters=dataclasses.asdict(spec.parameters),
            beta=getattr(spec.parameters, "beta", 0.1), precompute_ref_log_probs=True,
            per_device_train_batch_size=micro, gradient_accumulation_steps=recipe.batch_size // micro,
            num_train_epochs=recipe.epochs, max_steps=recipe.steps or -1, max_length=recipe.max_length, seed=spec.seed,
            logging_steps=LOGGING_STEPS, save_strategy="no", save_total_limit=1, report_to=[], disable_tqdm=True,
            dataloader_pin_memory=False, bf16=spec.dtype != FLOAT32, use_cpu=not torch.cuda.is_available(),
            logging_nan_inf_filter=False, **arguments_of(recipe),
        )  # fmt: skip
        if recipe.torch_compile:  # which leaves traces in a process: TF32, and code that counts against its limit
            torch.backends.fp32_precision = precision  # type: ignore[attr-defined]
            torch._dynamo.reset()
        may_rest = has_an_end(get_loss(spec.loss), spec.parameters)
        set_seed(spec.seed)  # an adapter starts at random
        model = load_policy(self.policy, self.weights, attention=spec.attention)
        attention = model.config._attn_implementation
        if not spec.attention and flex_serves(recipe.layout) and model._supports_flex_attn:
            model.set_attn_implementation(FLEX)
        trainer = GatedDPOTrainer(
            model=model, args=arguments, train_dataset=self.rows, processing_class=self.tokenizer,
            peft_config=lora_config(spec.adapter, model) if spec.adapter else None,
            callbacks=[
                callback_for(self.report, f"{spec.loss} x {gate.kind}"),
                divergence_callback(may_rest=may_rest, may_grow=bool(spec.adapter)),
                save_callback(recipe.evaluate_every, self.out),
                checkpoint_callback(LOGGING_STEPS, self.out), *([watch_callback(self.watch)] if self.watch else []),
            ],
        )  # fmt: skip
        if trainer.layout_caution:
            model.set_attn_implementation(attention)
        point = restore(model, self.out)  # the layout was decided by the weights before the first step
        without_lines(trainer)
        trainer.train(resume_from_checkpoint=point)
        return trainer


def rejected_probabilities(kind: str, token_log_probs: Iterable[Sequence[float]]) -> torch.Tensor:
    """p of every rejected response under the warm-up policy, from its stored token log-probs."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from gatebench.objectives import gates

    rows = [torch.tensor(tokens, dtype=torch.float32) for tokens in token_log_probs]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return gates.counted_probabilities(kind, pad_sequence(rows, batch_first=True), mask)


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    recipe = spec.recipe
    micro = recipe.micro_batch_size or recipe.batch_size
    width, states = recipe.lengths.max_length, recipe.states
    slower = [name for name in ("gradient_checkpointing", "torch_compile") if getattr(recipe, name)]
    like = (recipe.lengths, recipe.batch_size, micro, recipe.layout, *slower)
    units, saved = steps_of(recipe, pairs) * recipe.batch_size, checkpoints_of(recipe, pairs)
    return Amount(units, 2 * width, TRAINING, micro * 2 * width, states, saved, like)


def steps_of(recipe: Train, pairs: int) -> int:
    """Optimizer steps of a preference training."""
    return recipe.steps or recipe.epochs * math.ceil(pairs / recipe.batch_size)


def checkpoints_of(recipe: Train, pairs: int) -> int:
    """Models that a preference training leaves: every evaluate_every steps, and the last."""
    return len(range(recipe.evaluate_every, steps_of(recipe, pairs), recipe.evaluate_every)) + 1


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    recipe = replace(spec.recipe, steps=steps, evaluate_every=-(-steps // 2))
    return replace(spec, recipe=recipe, data=spec.data.shortened(steps))


STAGE = Stage("train", VERSION, Spec, run, amount, guess=8.0,
              facts=("gate", "steps", "micro_batch_size", *change.FACTS), shorten=shorten)  # fmt: skip
