"""The supervised warm-up: on chosen responses (`sft`), or on chosen and rejected ones (`extended_sft`, Ren &
Sutherland 2025, sec. 5), whose policy is the reference of every loss and gate after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatebench.bench.data.source import ROWS_A_STEP, DataSource
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.source import FLOAT32, Adapter
from gatebench.bench.stages.stage import (
    BYTES,
    CAUTIONS,
    FORWARD,
    FROZEN,
    LOSS_COPIES,
    TRAINING,
    Amount,
    Facts,
    Inputs,
    Report,
    Stage,
)
from gatebench.bench.stages.training import change
from gatebench.bench.suite.recipes import Warmup

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from gatebench.objectives.causal_lm import CausalLM

VERSION = 3


@dataclass(frozen=True)
class Spec:
    """kind: "sft" or "extended_sft" (twice the rows: each pair gives its chosen and its rejected response);
    weights, attention: ModelSource's."""

    kind: str
    recipe: Warmup
    lengths: Lengths
    dtype: str
    adapter: Adapter | None
    data: DataSource
    seed: int = 0
    weights: str = field(default="", metadata={"key": "given"})
    attention: str = field(default="", metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import torch
    from transformers import set_seed

    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import MODEL, load_policy, load_tokenizer
    from gatebench.bench.stages.training.packing import Row
    from gatebench.bench.stages.training.supervised import fit

    tokenizer = load_tokenizer(inputs["base"])
    pairs, dropped = Encoder(tokenizer, spec.lengths).training_pairs(spec.data, spec.recipe.pairs)
    held = spec.weights or FLOAT32
    rows = [Row(pair.prompt + pair.chosen, len(pair.prompt), pair.learned.get("chosen")) for pair in pairs]
    if spec.kind == "extended_sft":
        rows += [Row(pair.prompt + pair.rejected, len(pair.prompt), pair.learned.get("rejected")) for pair in pairs]

    def make_model() -> CausalLM:
        set_seed(spec.seed)  # an adapter starts at random
        model = load_policy(inputs["base"], held, attention=spec.attention)
        if spec.adapter is None:
            return model
        from peft import get_peft_model

        from gatebench.bench.models.loading import lora_config

        # peft's wrapper hands on what it does not have itself
        config = lora_config(spec.adapter, model)
        return cast("CausalLM", get_peft_model(cast("PreTrainedModel", model), config))

    recipe = spec.recipe
    fitted = fit(make_model, rows, learning_rate=recipe.learning_rate, batch_size=recipe.batch_size,
                 epochs=recipe.epochs, seed=spec.seed, report=report, out=out, dtype=spec.dtype,
                 optimizer=recipe.optimizer, gradient_checkpointing=recipe.gradient_checkpointing)  # fmt: skip
    model = fitted.model
    if spec.adapter:
        moved = change.of_adapter(model, getattr(torch, held))
        model = cast("PeftModel", model).float().merge_and_unload()  # the wrapper of make_model
    else:
        moved = change.of_weights(load_policy(inputs["base"], held), model)
    moved.check(fitted.steps)
    model.save_pretrained(out / MODEL)
    tokenizer.save_pretrained(out / MODEL)
    return {
        "micro_batch_size": fitted.micro, **moved.facts(), "tokens": recipe.epochs * sum(len(row.ids) for row in rows),
        "dropped": len(dropped),
        CAUTIONS: [*fitted.cautions, *moved.cautions("the warm-up", fitted.steps, recipe.learning_rate)],
    }  # fmt: skip


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    rows = min(spec.recipe.pairs or pairs, pairs) * (2 if spec.kind == "extended_sft" else 1)
    batch, width, recipe = spec.recipe.batch_size, spec.lengths.max_length, spec.recipe
    flops = (FROZEN if spec.adapter else TRAINING) + FORWARD * recipe.gradient_checkpointing
    like = (spec.lengths, batch, *(["gradient_checkpointing"] if recipe.gradient_checkpointing else []))
    # an adapter is merged in float32
    return Amount(rows * recipe.epochs, width, flops, batch * width, recipe.states, 1, like,
                  held=BYTES[FLOAT32 if spec.adapter else spec.weights or FLOAT32], logits=batch * width,
                  copies=LOSS_COPIES, responses=1, checkpointing=recipe.gradient_checkpointing)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    pairs = min(spec.recipe.batch_size, ROWS_A_STEP) * steps
    return replace(spec, recipe=replace(spec.recipe, epochs=1, pairs=pairs), data=spec.data.shortened(steps))


STAGE = Stage("warmup", VERSION, Spec, run, amount, facts=("micro_batch_size", "dropped", *change.FACTS),
              shorten=shorten)  # fmt: skip
