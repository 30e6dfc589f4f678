"""A cell with nothing but TRL and transformers: warm-up, preference training and the probes' log-probs at every
checkpoint, in a process of its own, as a script from TRL's documentation would do it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import Probe
from gatebench.bench.data.source import DataSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState


@dataclass(frozen=True)
class StockCell:
    """What the process is told; the numbers are those of the suite it is compared with."""

    policy: str
    data: DataSource
    loss: str
    seed: int
    steps: int
    evaluate_every: int
    batch_size: int
    max_length: int

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        file = folder / "cell.json"
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return file

    @classmethod
    def read(cls, file: Path) -> StockCell:
        found = json.loads(file.read_text(encoding="utf-8"))
        data = found["data"]
        columns = tuple((ours, theirs) for ours, theirs in data["columns"])  # JSON knows no tuples
        return cls(**{**found, "data": DataSource(**{**data, "columns": columns})})


def run(cell: StockCell, out: Path) -> None:
    """Everything that a cell takes; what it measured is written to `out`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from gatebench.bench.data.adapters import load
    from gatebench.bench.perf.trainers import trl_rows

    found = load(cell.data)
    tokenizer = AutoTokenizer.from_pretrained(cell.policy)
    policy = AutoModelForCausalLM.from_pretrained(cell.policy)
    shared: dict[str, object] = {
        "per_device_train_batch_size": cell.batch_size, "max_length": cell.max_length, "seed": cell.seed,
        "bf16": False, "report_to": [], "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    rows = trl_rows(found.train)
    good = Dataset.from_list([{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows])
    warmup = SFTConfig(output_dir=str(out / "sft"), num_train_epochs=1, **shared)
    SFTTrainer(policy, warmup, train_dataset=good, processing_class=tokenizer).train()
    policy.eval()

    class Probing(TrainerCallback):
        def on_step_end(self, args: object, state: TrainerState, control: object, **_: object) -> None:
            if state.global_step % cell.evaluate_every == 0:
                measured(state.global_step)

    def measured(step: int) -> None:
        values = list(_log_probs(policy, tokenizer, found.probes, cell))
        (out / f"probes-{step}.json").write_text(json.dumps(values))

    measured(0)
    training = DPOConfig(output_dir=str(out / "dpo"), max_steps=cell.steps, loss_type=cell.loss, **shared)
    DPOTrainer(
        policy, args=training, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[Probing()]
    ).train()
    policy.save_pretrained(out / "model")


def _log_probs(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Mapping[str, Sequence[Probe]],
    cell: StockCell,
) -> Iterator[tuple[float, float, float]]:
    """Log-prob, log-prob of the most likely tokens and entropy of every probe, batch by batch of whole rows."""
    import torch

    from gatebench.bench.data.pairs import plain, plain_response

    texts = [
        (plain(p.prompt), plain_response(p.prompt, text))
        for rows in probes.values()
        for p in rows
        for text in p.responses.values()
    ]
    was, _ = policy.training, policy.eval()
    for start in range(0, len(texts), cell.batch_size):
        some = texts[start : start + cell.batch_size]
        prompts = [len(tokenizer(prompt)["input_ids"]) for prompt, _ in some]
        rows = tokenizer([prompt + text for prompt, text in some], padding=True, truncation=True,
                         max_length=cell.max_length, return_tensors="pt")  # fmt: skip
        with torch.no_grad():
            log_p = policy(**rows).logits[:, :-1].log_softmax(-1)
        target = log_p.gather(-1, rows["input_ids"][:, 1:, None])[..., 0]
        best, entropy = log_p.max(-1).values, -(log_p.exp() * log_p).sum(-1)
        mask = rows["attention_mask"][:, 1:].bool()
        for row, prompt in enumerate(prompts):
            mask[row, : prompt - 1] = False
        yield from zip(*((part * mask).sum(-1).tolist() for part in (target, best, entropy)), strict=True)
    policy.train(was)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    run(StockCell.read(file), file.parent)
