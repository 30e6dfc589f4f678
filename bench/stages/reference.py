"""Log-probs of the training pairs under the frozen reference, the warm-up policy: computed once, shared by every
loss x gate cell. Their rejected side also places percentile thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gatebench.bench.data.source import DataSource
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.stages.stage import CAUTIONS, FORWARD, SCORED, Amount, Facts, Inputs, Report, Stage

VERSION = 3
REFERENCE_FILE = "reference.parquet"


@dataclass(frozen=True)
class Spec:
    lengths: Lengths
    dtype: str
    data: DataSource


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas
    import torch

    from gatebench.bench.data.adapters import load
    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import load_policy, load_tokenizer
    from gatebench.objectives.layout.scoring import Scored, map_batches, reader_of
    from gatebench.objectives.layout.shared_prompt import target_log_probs

    pairs, dropped = Encoder(load_tokenizer(inputs["policy"]), spec.lengths).pairs(load(spec.data).train)
    model = load_policy(inputs["policy"], spec.dtype).eval()
    prompts = [pair.prompt for pair in pairs]
    responses = [[pair.chosen, pair.rejected] for pair in pairs]
    reader = reader_of(model, prompts, responses)
    tokens: dict[tuple[int, int], list[float]] = {}

    def keep(scored: Scored) -> None:
        found = target_log_probs(scored.logits, scored.targets)
        for value, response in zip(found.tolist(), scored.response.tolist(), strict=True):
            tokens.setdefault(scored.owners[response], []).append(value)

    with torch.inference_mode():
        map_batches(reader, prompts, responses, keep, lambda share: report(share, "reference log-probs"))
    sides = {side: [tokens[i, k] for i in range(len(pairs))] for k, side in enumerate(("chosen", "rejected"))}
    frame = pandas.DataFrame(sides)
    frame.to_parquet(out / REFERENCE_FILE)
    return {
        "tokens": sum(len(p.prompt) + len(p.chosen) + len(p.rejected) for p in pairs),
        "dropped": [f"{row.place}: {row.reason}" for row in dropped],
        "pairs": len(pairs),
        CAUTIONS: [reader.caution] if reader.caution else [],
    }


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    width = spec.lengths.max_length
    return Amount(pairs, 2 * width, FORWARD, SCORED * width, 1, 0, (spec.lengths,))


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, data=spec.data.shortened(steps))


STAGE = Stage("reference", VERSION, Spec, run, amount, facts=("dropped", "pairs"), shorten=shorten)
