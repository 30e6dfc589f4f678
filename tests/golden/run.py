"""The tiny suite run through every kind of stage, its numbers, and what to say where they are others than before."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.helpers import DPO, once, plan_of

GOLDEN = Path(__file__).with_name("tiny.json")
WRITE = "python -m tests.golden"
SUITE = DPO.replace("[dpo]", "[dpo, extended_sft]").replace(
    "tau: q50}]", "tau: q50}, {kind: shuffled, of: seq}]\nexclude: [{objective: extended_sft, gate: [seq, shuffled]}]"
) + """  generate: {backend: transformers, prompts: 6, max_tokens: 8}
  judge: exact
  lm_eval: {tasks: [toolbox_choice], limit: 4}
  implicit_reward: ./choices.jsonl
  geometry: true
"""  # fmt: skip
CHOICES = (  # pairs, the best of four, and a question of RewardBench 2's Ties with its twin
    {"prompt": "Question: What is 12 plus 5?\nAnswer:", "chosen": " The sum is 17.", "rejected": " The sum is 18."},
    {"prompt": "Question: Spell the word cat.\nAnswer:", "chosen": [" c-a-t"], "rejected": [" c-t-a", " ca", " dog"]},
    {"id": "ref:0", "prompt": "Question: A day?\nAnswer:", "chosen": [" Monday"], "rejected": [" 7", " a week"]},
    {"id": "tied:0", "prompt": "Question: Any day?\nAnswer:", "chosen": [" Monday", " Friday"], "rejected": [" 7"]},
)
# Other kernels round otherwise, and Adam's first steps are the signs of gradients: with kernels that use no AVX
# in place of AVX-512's (ATEN_CPU_CAPABILITY=default, MKL_ENABLE_INSTRUCTIONS=SSE4_2) a number moved by 3e-4 of itself
# at most. Four steps are too few for more; what anyone changes on purpose moves some number by far more than this.
RELATIVE, ABSOLUTE = 5e-3, 1e-5
DIGITS = 7

Numbers = dict[str, float]
Golden = dict[str, Any]  # what tiny.json holds


@dataclass(frozen=True)
class Finished:
    """The tiny suite, run: its plan, its store, and the folder that they are in."""

    plan: Any
    store: Any
    folder: Path


@cache
def finished(shared: Path) -> Finished:
    """Run in this process, unless another one that tests with it has already: shared is a folder of all of them."""
    from gatebench.bench.store.store import Store

    folder = once(shared / "golden", _run)
    return Finished(plan_of(folder, SUITE), Store(folder / "store"), folder)


def _run(folder: Path) -> None:
    from gatebench.bench.executors.api import Resources
    from gatebench.bench.executors.loop import execute
    from gatebench.bench.stages.registry import run_of_kind
    from gatebench.bench.store.store import Store
    from tests.toys.executor import EXECUTOR

    (folder / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHOICES), encoding="utf-8")
    executor = EXECUTOR.make(Resources(1, 1, 0, folder / "logs"), run_of_kind)
    outcome = execute(plan_of(folder, SUITE), Store(folder / "store"), executor, lambda event: None)
    assert not outcome.failed, outcome.failed


def measured(done: Finished) -> Golden:
    """What a run gave, as tiny.json has it: per kind of stage its version and numbers, per cell its metrics."""
    from gatebench.bench.analysis.summary import summarize
    from gatebench.bench.data import toolbox
    from gatebench.bench.stages.registry import kinds, stage_of
    from gatebench.bench.stages.stage import library_versions

    stages = {kind: {"version": stage_of(kind).version, "numbers": {}} for kind in kinds()}
    places = _places(done.plan)
    for key, node in done.plan.nodes.items():
        found = NUMBERS[node.kind](done.store.path(node.kind, key))
        stages[node.kind]["numbers"] |= _rounded(found, f"{places[key]}: ")
    cells = {
        cell.id: _rounded({name: value for name, value in cell.metrics.items() if is_compared(name)})
        for cell in summarize(done.plan, done.store).cells
    }
    libraries = {name: version.partition("+")[0] for name, version in library_versions().items()}  # whichever build
    return {"made_with": {**libraries, "toolbox": str(toolbox.VERSION)}, "stages": stages, "cells": cells}


def is_compared(name: str) -> bool:
    """Not the bounds of an interval, nor a share of differences above or below 0, which a last digit turns where one is
    next to nothing."""
    return not name.endswith(("_lo", "_hi", "accuracy", "share_fallen"))


def _places(plan: Any) -> dict[str, str]:
    """A name for every stage that no key is part of: the first cell that rests on it, and its place there."""
    found: dict[str, str] = {}
    for cell in plan.cells:
        own = plan.needed_by(cell)
        for node in own:
            turn = [other.key for other in own if other.kind == node.kind].index(node.key)
            found.setdefault(node.key, f"{cell.id}#{turn}" if turn else cell.id)
    return found


def _rounded(numbers: Numbers, place: str = "") -> Numbers:
    """Without those that are missing."""
    return {place + name: float(f"{v:.{DIGITS}g}") for name, v in numbers.items() if not math.isnan(v)}


def compare(found: Golden, kept: Golden) -> list[str]:
    """A sentence for each thing to do where a run gave other numbers than those that are kept.

    Only the first stage of the flow that differs is to blame: those after it are made of its results.
    """
    if found["made_with"] != kept["made_with"]:
        changed = [f"{name} {kept['made_with'].get(name)} -> {now}" for name, now in found["made_with"].items()
                   if now != kept["made_with"].get(name)]  # fmt: skip
        return [f"tiny.json was made with other parts ({', '.join(changed)}), which are in every key: run {WRITE}"]
    for kind, own in found["stages"].items():
        before = kept["stages"].get(kind, {"version": None, "numbers": {}})
        if own["version"] != before["version"]:
            return [f"VERSION of stage {kind} is {own['version']} now: run {WRITE} and commit tiny.json with it"]
        differences = _differences(own["numbers"], before["numbers"])
        if differences:
            return [f"results of stage {kind} changed and its VERSION is still {own['version']}: raise it in "
                    f"bench/stages/{kind}.py, then run {WRITE} ({differences[0]})"]  # fmt: skip
    for cell in dict.fromkeys([*found["cells"], *kept["cells"]]):
        differences = _differences(found["cells"].get(cell, {}), kept["cells"].get(cell, {}))
        if differences:
            return [f"metrics of {cell} changed and no stage did ({differences[0]}): what a metric means is in no key, "
                    f"so say in CHANGELOG.md that earlier results have other numbers, then run {WRITE}"]  # fmt: skip
    return []


def _differences(found: Numbers, kept: Numbers) -> list[str]:
    def same(name: str) -> bool:
        return name in found and name in kept and math.isclose(
            found[name], kept[name], rel_tol=RELATIVE, abs_tol=ABSOLUTE
        )  # fmt: skip

    names = dict.fromkeys([*kept, *found])
    return [f"{name}: {kept.get(name)} -> {found.get(name)}" for name in names if not same(name)]


# what a stage's folder says in numbers


def _weights(folder: Path) -> Numbers:
    """The size of every few parameters together, from the file that holds them."""
    import torch
    from safetensors.torch import load_file

    (file,) = (folder / "model").glob("*.safetensors")
    tensors = sorted(load_file(file).items())
    return {"norm of the weights": float(torch.stack([t.double().norm() for _, t in tensors]).norm()),
            "sum of the weights": float(sum(t.double().sum() for _, t in tensors))}  # fmt: skip


def _columns(file: Path, **where: object) -> Numbers:
    """The mean of every column of numbers."""
    import pandas

    frame = pandas.read_parquet(file)
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return {"rows": float(len(frame)), **{f"mean {name}": float(column.mean())
                                          for name, column in frame.select_dtypes("number").items()}}  # fmt: skip


def _reference(folder: Path) -> Numbers:
    import pandas

    frame = pandas.read_parquet(folder / "reference.parquet")
    return {f"sum of {side} {row}": float(sum(frame[side][row])) for side in ("chosen", "rejected") for row in range(4)}


def _train(folder: Path) -> Numbers:
    """Losses as they are logged, and the weights that came of it."""
    import pandas

    log = pandas.read_parquet(folder / "curves.parquet")
    told = {f"{name} at {step}": float(log[name][i]) for i, step in enumerate(log["step"])
            for name in ("loss", "grad_norm", "gate/mean") if name in log}  # fmt: skip
    return {**told, **_weights(folder)}


def _dynamics(folder: Path) -> Numbers:
    import pandas

    last = int(pandas.read_parquet(folder / "probes.parquet", columns=["step"])["step"].max())
    return {f"{name}, {kind}": value for kind in ("chosen", "rejected")
            for name, value in _columns(folder / "probes.parquet", step=last, kind=kind).items()}  # fmt: skip


def _lm_eval(folder: Path) -> Numbers:
    from gatebench.bench.metrics.tasks import task_metrics

    return {name: value for name, (value, _) in task_metrics(json.loads((folder / "results.json").read_text())).items()}


NUMBERS: Mapping[str, Callable[[Path], Numbers]] = {
    "base": _weights, "warmup": _weights, "reference": _reference,
    "geometry": lambda folder: _columns(folder / "geometry.parquet"), "train": _train, "dynamics": _dynamics,
    "generate": lambda folder: _columns(folder / "generations.parquet"), "lm_eval": _lm_eval,
    "implicit_reward": lambda folder: _columns(folder / "answers.parquet"),
    "judge": lambda folder: _columns(folder / "verdicts.parquet"),
}  # fmt: skip


# the documents of the shipped lm-eval tasks


def questions() -> dict[str, str]:
    """What stands for the shipped tasks' documents in keys, and a digest of those documents."""
    import runpy

    from gatebench.bench.stages import lm_eval

    asked = runpy.run_path(str(lm_eval.SHIPPED / "questions.py"))
    documents = {name: asked[name]()["test"].to_list() for name in ("choices", "answers")}
    text = json.dumps(documents, sort_keys=True, ensure_ascii=False)
    return {"stands_for": lm_eval.QUESTIONS_DIGEST, "documents": hashlib.sha256(text.encode()).hexdigest()}


def compare_questions(found: Mapping[str, str], kept: Mapping[str, str]) -> str | None:
    """What has to be done where the shipped tasks ask something else than before."""
    if found["documents"] != kept["documents"] and found["stands_for"] == kept["stands_for"]:
        return (
            "what bench/data/tasks/questions.py asks changed and QUESTIONS_DIGEST did not: put "
            f"{found['documents']} there, in bench/stages/lm_eval.py, then run {WRITE}"
        )
    return None if found == kept else f"QUESTIONS_DIGEST is another one: run {WRITE} and commit tiny.json with it"


def kept() -> Golden:
    loaded: Golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return loaded


def write_anew() -> None:
    with tempfile.TemporaryDirectory(prefix="gatebench-golden-") as folder:
        everything = {**measured(finished(Path(folder))), "questions": questions()}
    GOLDEN.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
