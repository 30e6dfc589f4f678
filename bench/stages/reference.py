"""Log-probs of the training pairs under the frozen reference, the warm-up policy: computed once, shared by every
loss x gate cell. Their rejected side also places percentile thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gatebench.bench.data.pairs import Dropped
from gatebench.bench.data.source import DataSource
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.stages.finite import check_finite
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

VERSION = 4
REFERENCE_FILE = "reference.parquet"
PAIR_SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Spec:
    """dtype, weights, attention: those of the training, so that its first step finds policy and reference equal."""

    lengths: Lengths
    dtype: str
    data: DataSource
    weights: str = field(default="", metadata={"key": "given"})
    attention: str = field(default="", metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """Raises StageFailed for log-probs that are not numbers."""
    import pandas
    import torch

    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import computing, load_policy, load_tokenizer
    from gatebench.objectives.layout.scoring import Scored, map_batches, reader_of
    from gatebench.objectives.layout.shared_prompt import target_log_probs

    encoder = Encoder(load_tokenizer(inputs["policy"]), spec.lengths)
    pairs, dropped = encoder.training_pairs(spec.data)
    model = load_policy(inputs["policy"], spec.weights or FLOAT32, attention=spec.attention).eval()
    prompts = [pair.prompt for pair in pairs]
    responses = [[pair.chosen, pair.rejected] for pair in pairs]
    reader = reader_of(model, prompts, responses)
    learned = {
        (i, k): pair.learned[side] for i, pair in enumerate(pairs) for k, side in enumerate(PAIR_SIDES)
        if side in pair.learned
    }  # fmt: skip
    tokens: dict[tuple[int, int], list[float]] = {}

    def keep(scored: Scored) -> None:
        found = target_log_probs(scored.logits, scored.targets)
        for value, response in zip(found.tolist(), scored.response.tolist(), strict=True):
            tokens.setdefault(scored.owners[response], []).append(value)

    with torch.inference_mode(), computing(spec.dtype, model):
        map_batches(reader, prompts, responses, keep, lambda share: report(share, "reference log-probs"), learned)
    sides = {side: [tokens[i, k] for i in range(len(pairs))] for k, side in enumerate(PAIR_SIDES)}
    check_finite(map(sum, tokens.values()), "responses of training pairs under the reference policy")
    frame = pandas.DataFrame(sides)
    frame.to_parquet(out / REFERENCE_FILE)
    return {
        "tokens": sum(len(p.prompt) + len(p.chosen) + len(p.rejected) for p in pairs),
        "pairs": len(pairs),
        **facts_of(spec.data, dropped, [reader.caution] if reader.caution else []),
    }


def facts_of(source: DataSource, dropped: Sequence[Dropped], cautions: Sequence[str]) -> Facts:
    """What the first stage that reads the training pairs of a data set says of them; cautions: of its own."""
    from gatebench.bench.data.adapters import load

    data = load(source)
    return {
        "dropped": [f"{row.place}: {row.reason}" for row in (*data.dropped, *dropped)],
        CAUTIONS: [*data.cautions, *left_out(source.name, dropped, len(data.train)), *cautions],
    }


def left_out(name: str, dropped: Sequence[Dropped], rows: int) -> list[str]:
    """A sentence where pairs could not be encoded."""
    if not dropped:
        return []
    first = f"{dropped[0].place}: {dropped[0].reason}"
    return [f"data set {name}: {len(dropped)} of {rows} training pairs were left out; first: {first}"]


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    width = spec.lengths.max_length
    positions = min(SCORED_POSITIONS, 2 * pairs * width)
    return Amount(pairs, 2 * width, FORWARD, positions, 0, 0, (spec.lengths,), held=BYTES[spec.weights or FLOAT32],
                  logits=positions, copies=SCORE_COPIES, responses=2)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, data=spec.data.shortened(steps))


STAGE = Stage("reference", VERSION, Spec, run, amount, facts=("dropped", "pairs"), shorten=shorten)
