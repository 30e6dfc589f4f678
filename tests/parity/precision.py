"""`dtype: bfloat16` beside float32 and beside stock TRL, from one warm-up policy, at the learning rate of preference
training: how far the weights go and what that does to the chosen response.

    python -m tests.parity.precision FOLDER [MODEL [DATA [key=value ...]]]

FOLDER keeps the stages; MODEL and DATA are paths as in a suite; key=value sets one of DEFAULTS: tokens (of a
built-in's base), warmup (its learning rate), prompt (its longest) ...
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers import no_report, plan_of, run_stage

if TYPE_CHECKING:
    from gatebench.bench.stages import dynamics, train

SUITE = """name: precision
models: [{{name: float32, path: '{model}'}}, {{name: bfloat16, path: '{model}', dtype: bfloat16}}]
datasets: [{{name: pairs, path: '{data}', train: {pairs}, test: 16}}]
objectives: [dpo]
gates: [none]
seeds: [0]
base: {{tokens: {tokens}, learning_rate: 0.002, batch_size: 16, context: 128}}
warmup: {{epochs: 1, learning_rate: {warmup}, batch_size: 8}}
train: {{learning_rate: 5e-7, warmup_steps: 0, steps: {steps}, batch_size: {batch_size}, max_length: {max_length},
  max_prompt_length: {prompt}, evaluate_every: 1000, keep: all}}
evaluate: {{dynamics: {{probes: {probes}}}}}
"""

DEFAULTS = {
    "tokens": 400_000, "warmup": 5e-4, "steps": 60, "batch_size": 4, "max_length": 128, "prompt": 96, "pairs": 256,
    "probes": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What a training did. changed, update: as in a train stage's facts; delta: mean Δ chosen of the training probes,
    in nats; both from the weights that the training loaded."""

    name: str
    changed: float
    update: float
    delta: float


def rows(folder: Path, model: str, data: str, **settings: object) -> list[Row]:
    """Two cells of the harness and two of stock TRL: float32 weights under autocast, and weights of bfloat16."""
    given = {**DEFAULTS, **settings}
    plan = plan_of(folder, SUITE.format(model=model, data=data, **given))
    for node in plan.nodes.values():
        if not (folder / node.key / ".made").exists():
            run_stage(node, folder, folder / node.key)
            (folder / node.key / ".made").touch()
    node = plan.nodes[plan.cells[0].stages["train"]]
    policy = next(folder / key for role, _, key in node.inputs if role == "policy")
    followed = plan.nodes[plan.cells[0].stages["dynamics"]].spec
    found = []
    for cell in plan.cells:
        own = next(key for role, _, key in plan.nodes[cell.stages["train"]].inputs if role == "policy")
        found.append(_row(f"harness, {cell.model}", followed, folder / own, folder / cell.stages["train"]))
    for dtype in ("float32", "bfloat16"):
        out = folder / f"stock-{dtype}"
        _train_stock(node.spec, policy, dtype, out)
        found.append(_row(f"stock TRL, bf16=True, {dtype} weights", followed, out / "start", out))
    return found


def _train_stock(spec: train.Spec, policy: Path, dtype: str, out: Path) -> None:
    """TRL's own trainer on the tokens, the order and the recipe of a cell, weights held as dtype; `out` is then like
    the folder of a train stage, and `out`/start like that of a warm-up."""
    import pandas
    import torch
    from datasets import Dataset
    from transformers import set_seed
    from trl import DPOConfig, DPOTrainer

    from gatebench.bench.data.adapters import load
    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import load_policy, load_tokenizer
    from gatebench.bench.stages.training.supervised import without_lines

    class Stock(DPOTrainer):
        def _prepare_dataset(self, dataset: Dataset, *arguments: object) -> Dataset:
            return dataset  # tokenized already

    tokenizer = load_tokenizer(policy)
    pairs, _ = Encoder(tokenizer, spec.recipe.lengths).pairs(load(spec.data).train)
    names = {"prompt_ids": "prompt", "chosen_ids": "chosen", "rejected_ids": "rejected"}
    data = Dataset.from_dict({column: [getattr(pair, side) for pair in pairs] for column, side in names.items()})
    model = load_policy(policy, dtype)
    model.save_pretrained(out / "start" / "model")
    tokenizer.save_pretrained(out / "start" / "model")
    set_seed(spec.seed)
    trainer = Stock(
        model=model, train_dataset=data, processing_class=tokenizer,
        args=DPOConfig(
            str(out / "trainer"), bf16=True, learning_rate=spec.recipe.learning_rate, max_steps=spec.recipe.steps,
            per_device_train_batch_size=spec.recipe.batch_size, max_length=spec.recipe.max_length, seed=spec.seed,
            lr_scheduler_type="constant", gradient_checkpointing=False, save_strategy="no", report_to=[],
            precompute_ref_log_probs=True, optim=spec.recipe.optimizer, max_grad_norm=spec.recipe.max_grad_norm,
            disable_tqdm=True, use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False, logging_steps=5,
        ),
    )  # fmt: skip
    without_lines(trainer)
    trainer.train()
    trainer.model.save_pretrained(out / "model")
    pandas.DataFrame({"step": [spec.recipe.steps]}).to_parquet(out / "curves.parquet")


def _row(name: str, spec: dynamics.Spec, policy: Path, trained: Path) -> Row:
    import pandas

    from gatebench.bench.models.loading import load_policy
    from gatebench.bench.stages import dynamics
    from gatebench.bench.stages.training import change

    start, end = (trained.parent / f"{trained.name}-{when}" for when in ("start", "end"))
    for out, inputs in ((start, {"policy": policy}), (end, {"policy": policy, "start": start, "train": trained})):
        out.mkdir(exist_ok=True)
        dynamics.run(spec, inputs, out, no_report)
    moved = change.of_weights(load_policy(policy, "float32"), load_policy(trained, "float32"))
    curves = pandas.read_parquet(end / "curves.parquet")
    return Row(name, moved.changed, moved.update, float(curves["delta_chosen"].iloc[-1]))


if __name__ == "__main__":
    place, *named = [argument for argument in sys.argv[1:] if "=" not in argument]
    model, data = [*named, *("builtin:ladder/neox-1.3m", "builtin:toolbox")[len(named) :]]
    settings = dict(argument.split("=") for argument in sys.argv[1:] if "=" in argument)
    Path(place).mkdir(parents=True, exist_ok=True)
    for row in rows(Path(place), model, data, **settings):
        print(f"{row.name:40} changed {row.changed:6.1%}  update {row.update:.2e}  Δ chosen {row.delta:+.4f}")
