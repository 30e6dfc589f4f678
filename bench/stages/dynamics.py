"""The learning dynamics of one cell: every probe's log-prob at step 0, every evaluate_every steps and the end.

Without a `train` input it measures step 0 alone, the warm-up policy, which all cells after that warm-up share. A
training that measured its probes as it went is joined with that; one that kept its checkpoints is measured from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import DataSource
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.stages.probing import PROBES
from gatebench.bench.stages.stage import (
    BYTES,
    CAUTIONS,
    FORWARD,
    SCORE_COPIES,
    SCORED_POSITIONS,
    Amount,
    Facts,
    Inputs,
    Report,
    Stage,
)
from gatebench.bench.stages.train import KINDS_A_PROBE, checkpoints_of
from gatebench.bench.stages.training.callbacks import CHECKPOINTS

if TYPE_CHECKING:
    import pandas

VERSION = 6
CURVES = "curves.parquet"


@dataclass(frozen=True)
class Spec:
    """dtype: that of the training; measured is in float32 whatever it is, since what an update changes lies below what
    bfloat16 can tell apart. weights: those that the training began from, ModelSource.weights; profile: PROFILE
    where that is measured, 0 where it is not; confidence: see probing."""

    lengths: Lengths
    dtype: str
    data: DataSource
    weights: str = field(default="", metadata={"key": "given"})
    profile: int = field(default=0, metadata={"key": "given"})
    confidence: bool = field(default=False, metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas

    from gatebench.bench.metrics.dynamics import curves
    from gatebench.bench.models.loading import MODEL, in_float32, load_adapted, load_policy, load_tokenizer
    from gatebench.bench.stages.probing import followed, measure_probes, probes_after

    if "train" in inputs and (inputs["train"] / PROBES).exists():  # measured as it went
        frame = pandas.concat([pandas.read_parquet(inputs[role] / PROBES) for role in ("start", "train")])
        frame.reset_index(drop=True).to_parquet(out / PROBES)
        curves(frame).to_parquet(out / CURVES)
        return {"tokens": 0, "steps": [int(step) for step in frame["step"].unique()]}

    probes = followed(
        load_tokenizer(inputs["policy"]), spec.data, spec.lengths, profile=spec.profile, confidence=spec.confidence
    )
    policy = in_float32(load_policy(inputs["policy"], spec.weights or FLOAT32)).eval()
    if "train" not in inputs:
        reader = probes.reader(policy)
        share = partial(_share, report, 0, 1, "probes at step 0")
        measure_probes(reader, None, probes, 0, share).to_parquet(out / PROBES)
        return {
            "tokens": probes.tokens, "probes": {split: len(rows) for split, rows in probes.encoded.items()},
            CAUTIONS: [*filter(None, [reader.caution]), *probes.cautions],
        }  # fmt: skip

    saved = sorted(path.name for path in (inputs["train"] / CHECKPOINTS).glob("*"))
    final = int(pandas.read_parquet(inputs["train"] / "curves.parquet", columns=["step"])["step"].max())
    folders = [(int(name), f"{CHECKPOINTS}/{name}") for name in saved] + [(final, MODEL)]
    frames, cautions = [pandas.read_parquet(inputs["start"] / PROBES)], list(probes.cautions)
    for index, (step, folder) in enumerate(folders):
        adapted = load_adapted(inputs["train"], folder)
        model = adapted or load_policy(inputs["train"], FLOAT32, folder)
        share = partial(_share, report, index, len(folders), f"probes at step {step}")
        frame, caution = probes_after(step, model.eval(), None if adapted else policy, probes, share)
        frames.append(frame)
        cautions += [caution] if caution and caution not in cautions else []
    frame = pandas.concat(frames, ignore_index=True)
    frame.to_parquet(out / PROBES)
    curves(frame).to_parquet(out / CURVES)
    return {"tokens": probes.tokens * len(folders), "steps": [0, *(step for step, _ in folders)], CAUTIONS: cautions}


def _share(report: Report, index: int, of: int, text: str, share: float) -> None:
    report((index + share) / of, text)


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    width, trained = spec.lengths.max_length, inputs.get("train")
    times = checkpoints_of(trained.recipe, pairs) if trained else 1
    if trained and trained.followed:  # measured as it trained
        return Amount(1, 0, 0, 0, 0, 0, held=0)
    probes = spec.data.probes_among(pairs)
    like = (spec.lengths, trained is None)
    positions = min(SCORED_POSITIONS, probes * KINDS_A_PROBE * width)
    models = 1 if trained is None else 2  # a policy beside the one that it was trained from
    return Amount(times * probes, KINDS_A_PROBE * width, FORWARD, positions, 0, 0, like, held=models * BYTES[FLOAT32],
                  logits=positions, copies=SCORE_COPIES, responses=KINDS_A_PROBE, wide=True)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, data=spec.data.shortened(steps))


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    """The change of every probe from step 0 to the true end."""
    import pandas

    from gatebench.bench.metrics.dynamics import probe_deltas

    last = int(pandas.read_parquet(folder / CURVES, columns=["step"])["step"].max())
    return probe_deltas(pandas.read_parquet(folder / PROBES, filters=[("step", "in", (0, last))]), last)


STAGE = Stage("dynamics", VERSION, Spec, run, amount, facts=("steps",), shorten=shorten, by_prompt=by_prompt)
