"""Materialise a model: train a built-in from scratch on the data set's corpus, or have the files of a given one.

A local model is linked into the store, so that its folder may be moved, replaced or deleted; a GGUF file is converted
into it; one of the hub is pinned to the commit that its name stands for now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import DataSource
from gatebench.bench.models.source import ModelSource, link_model
from gatebench.bench.stages.stage import (
    ADAMW,
    BYTES,
    CAUTIONS,
    LOSS_COPIES,
    TRAINING,
    Amount,
    Facts,
    Inputs,
    Report,
    Stage,
)  # fmt: skip
from gatebench.bench.suite.recipes import Base

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import CausalLM

VERSION = 3


@dataclass(frozen=True)
class Spec:
    """data and recipe are None for a model that already has weights, so its cells on all data sets share it."""

    model: ModelSource
    data: DataSource | None = None
    recipe: Base | None = None
    seed: int = 0


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    from gatebench.bench.models.loading import MODEL, POINTER, commit_of

    if spec.data is None or spec.recipe is None:
        if spec.model.parts:
            return _converted(spec.model, out, report)
        if Path(spec.model.path).is_dir():
            report(0.0, "the model's files")
            link_model(spec.model, out / MODEL)
        else:
            pinned = {"path": spec.model.path, "revision": commit_of(spec.model.path, spec.model.revision)}
            (out / POINTER).write_text(json.dumps(pinned))
        return {"tokens": 0}

    import torch
    from transformers import AutoModelForCausalLM, set_seed

    from gatebench.bench.data.adapters import load_corpus
    from gatebench.bench.models import ladder
    from gatebench.bench.stages.training.packing import Row
    from gatebench.bench.stages.training.supervised import fit

    recipe = spec.recipe
    corpus = load_corpus(spec.data)
    report(0.0, "tokenizer")
    tokenizer = ladder.make_tokenizer(corpus)
    stream = [token for ids in tokenizer(list(corpus))["input_ids"] for token in [*ids, tokenizer.eos_token_id]]
    rows = [Row(stream[at : at + recipe.context]) for at in range(0, len(stream) - recipe.context + 1, recipe.context)]
    steps = max(1, recipe.tokens // (recipe.batch_size * recipe.context))

    def make_model() -> CausalLM:
        set_seed(spec.seed)
        model = AutoModelForCausalLM.from_config(ladder.make_config(spec.model.path), attn_implementation="sdpa")
        placed: CausalLM = model.to("cuda" if torch.cuda.is_available() else "cpu", dtype=torch.float32)
        return placed

    fitted = fit(make_model, rows, learning_rate=recipe.learning_rate, batch_size=recipe.batch_size,
                 steps=steps, seed=spec.seed, report=report, out=out)  # fmt: skip
    model = fitted.model
    model.save_pretrained(out / MODEL)
    tokenizer.save_pretrained(out / MODEL)
    return {
        "micro_batch_size": fitted.micro, "tokens": steps * recipe.batch_size * recipe.context,
        "parameters": model.num_parameters(),
    }  # fmt: skip


def _converted(model: ModelSource, out: Path, report: Report) -> Facts:
    from gatebench.bench.models.gguf.conversion import convert
    from gatebench.bench.models.loading import MODEL

    found = convert(model, out / MODEL, report)
    return {"tokens": 0, "parameters": found.parameters, "text_loss": found.loss,
            CAUTIONS: [found.caution] if found.caution else []}  # fmt: skip


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    recipe = spec.recipe
    if spec.model.parts:  # the file's numbers as they are read and the model's own, both in float32
        return Amount(1, 0, 0, 0, 0, 1, held=2 * BYTES["float32"])
    if recipe is None:  # files are linked, or fetched in the 16 bits that published weights mostly have
        return Amount(0, 0, 0, 0, 0, int(not Path(spec.model.path).exists()), held=0, written=BYTES["bfloat16"])
    batch = recipe.batch_size * recipe.context
    return Amount(recipe.tokens, 1, TRAINING, batch, ADAMW, 1, (recipe.batch_size, recipe.context),
                  logits=batch, copies=LOSS_COPIES)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    """A few steps; another seed for each copy, so that nothing after it is shared."""
    if spec.recipe is None:
        return replace(spec, seed=copy)
    tokens = steps * spec.recipe.batch_size * spec.recipe.context
    return replace(spec, recipe=replace(spec.recipe, tokens=tokens), seed=copy)


STAGE = Stage("base", VERSION, Spec, run, amount, facts=("parameters", "micro_batch_size"), shorten=shorten)
