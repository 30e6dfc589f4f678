"""Stages that train nothing: what is left of a suite's time when its work is taken away."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.stages.stage import Facts, Report, Run

if TYPE_CHECKING:
    import pandas

    from gatebench.bench.stages import dynamics

NOOP_STEPS = (0, 10, 20)


def run_of(kind: str) -> Run:
    """The no-op stage of a kind: it leaves files of the kind's own layout."""
    own: dict[str, Run] = {"train": _train, "dynamics": _dynamics}
    return own.get(kind, _nothing)


def _nothing(spec: object, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    return {"tokens": 0}


def _train(spec: object, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas

    from gatebench.bench.stages.train import TRAIN_CURVES

    pandas.DataFrame({"step": NOOP_STEPS[1:], "loss": [0.7, 0.6]}).to_parquet(out / TRAIN_CURVES)
    return {"tokens": 0, "steps": NOOP_STEPS[-1]}


def _dynamics(spec: dynamics.Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    from gatebench.bench.metrics.dynamics import curves
    from gatebench.bench.stages.dynamics import CURVES
    from gatebench.bench.stages.probing import PROBES

    frame = _probes(spec.data.probes)
    frame.to_parquet(out / PROBES)
    curves(frame).to_parquet(out / CURVES)
    return {"tokens": 0, "steps": list(NOOP_STEPS)}


@cache
def _probes(count: int) -> pandas.DataFrame:
    import pandas

    kinds = ("chosen", "rejected", "irr_train", "irr_test", "random_permute")
    return pandas.DataFrame([
        {"step": step, "split": split, "prompt": prompt, "kind": kind, "tokens": 10,
         "log_prob": -30.0 - len(kind) * step / 20 - prompt, "argmax": -5.0, "entropy": 1.0, "kl": step / 10}
        for step in NOOP_STEPS for split in ("train", "test") for prompt in range(count) for kind in kinds
    ])  # fmt: skip
