"""lm-eval's tasks on a trained policy, by its own API; its results are kept whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.stages.stage import Facts, Report, StageFailed

VERSION = 1
FILE = "results.json"
SEED = 1234  # lm-eval's own default


@dataclass(frozen=True)
class Spec:
    """tasks: names; content: digest of the local task files in include_path; version: of lm-eval."""

    tasks: tuple[str, ...]
    content: str
    limit: int | None
    dtype: str
    version: str
    include_path: str | None = field(default=None, metadata={"key": False})
    data: None = None


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """Raises StageFailed for a task that lm-eval does not know."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from bench.models.loading import load_policy, load_tokenizer

    policy = inputs.get("train", inputs["policy"])
    report(0.0, "lm-eval " + " ".join(spec.tasks))
    manager = TaskManager(include_path=spec.include_path)
    unknown = [task for task in spec.tasks if not manager.match_tasks([task])]
    if unknown:
        raise StageFailed(f"lm-eval knows no task {unknown[0]!r}; see `lm-eval ls tasks`, or give include_path")
    model = HFLM(pretrained=load_policy(policy, spec.dtype).eval(), tokenizer=load_tokenizer(policy), batch_size=16)
    found: dict[str, Any] = simple_evaluate(
        model=model, tasks=list(spec.tasks), task_manager=manager, limit=spec.limit, random_seed=SEED,
        numpy_random_seed=SEED, torch_random_seed=SEED, fewshot_random_seed=SEED, log_samples=False,
    )  # fmt: skip
    (out / FILE).write_text(json.dumps(found, default=str, indent=1), encoding="utf-8")
    return {"tasks": list(spec.tasks)}


def metrics(results: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """lm-eval's results -> TASK/METRIC -> (value, standard error where it gives one). A filter other than "none" stays
    in the name."""
    found: dict[str, tuple[float, float | None]] = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, _, way = key.partition(",")
            if not way or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{way}")
            name = f"{task}/{metric}" if way == "none" else f"{task}/{metric}/{way}"
            found[name] = (float(value), float(error) if isinstance(error, int | float) else None)
    return found
