"""How alike the sides of a pair are, by their tokens and as the warm-up policy reads them, before any training: of the
training pairs and of the probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import NEAR_MISS
from gatebench.bench.data.source import DataSource
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.stages.probing import CHOSEN, REJECTED
from gatebench.bench.stages.stage import BYTES, CAUTIONS, FORWARD, Amount, Facts, Inputs, Report, Stage

if TYPE_CHECKING:
    import pandas

    from gatebench.bench.models.encoding import EncodedPair
    from gatebench.objectives.causal_lm import CausalLM
    from gatebench.objectives.geometry import Geometry

VERSION = 2
GEOMETRY_FILE = "geometry.parquet"
PAIRS = "pairs"  # what stands in column split of the training pairs; the others are the probes'


@dataclass(frozen=True)
class Spec:
    """weights: ModelSource's; measured is in float32 whatever the model is trained in."""

    lengths: Lengths
    data: DataSource
    weights: str = field(default="", metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas

    from gatebench.bench.data.adapters import load
    from gatebench.bench.metrics.geometry import share_edited
    from gatebench.bench.models.encoding import EncodedPair, Encoder
    from gatebench.bench.models.loading import in_float32, load_policy, load_tokenizer
    from gatebench.bench.stages.reference import left_out

    data, encoder = load(spec.data), Encoder(load_tokenizer(inputs["policy"]), spec.lengths)
    pairs, dropped = encoder.training_pairs(spec.data)
    rows = [(PAIRS, number, pair, "") for number, pair in enumerate(pairs)]
    for split, probes in data.probes.items():
        for prompt, probe in encoder.probes(probes):
            sides = probe.responses
            if CHOSEN in sides and REJECTED in sides:
                pair = EncodedPair(probe.prompt, sides[CHOSEN], sides[REJECTED], probe.learned)
                rows.append((split, prompt, pair, probes[prompt].pair))
    model = in_float32(load_policy(inputs["policy"], spec.weights or FLOAT32)).eval()
    found = []
    for done, (split, prompt, pair, kind) in enumerate(rows, 1):
        found.append({
            "split": split, "prompt": prompt, "edit_distance": share_edited(pair.chosen, pair.rejected),
            "near_miss": float(kind == NEAR_MISS) if kind else None, **asdict(pair_geometry(model, pair)),
        })  # fmt: skip
        report(done / len(rows), "geometry of pairs")
    pandas.DataFrame(found).to_parquet(out / GEOMETRY_FILE)
    return {
        "tokens": sum(2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for _, _, pair, _ in rows),
        "pairs": len(pairs), CAUTIONS: [*data.cautions, *left_out(spec.data.name, dropped, len(data.train))],
    }  # fmt: skip


def pair_geometry(model: CausalLM, pair: EncodedPair) -> Geometry:
    """Of the learned tokens of a pair's two responses, read in one pass."""
    import torch

    from gatebench.objectives.causal_lm import backbone_of
    from gatebench.objectives.geometry import ReadResponse, geometry
    from gatebench.objectives.layout.head import head_of

    sides = [(CHOSEN, pair.chosen), (REJECTED, pair.rejected)]
    rows = [pair.prompt + response[:-1] for _, response in sides]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    with torch.no_grad():
        hidden = backbone_of(model)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    read, start = [], len(pair.prompt) - 1
    for states, (side, response) in zip(hidden, sides, strict=True):
        own = torch.tensor(pair.own(side), dtype=torch.bool, device=model.device)
        targets = torch.tensor(response, dtype=torch.long, device=model.device)
        read.append(ReadResponse(states[start : start + len(response)][own], targets[own]))
    return geometry(head_of(model), *read)


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    width = spec.lengths.max_length
    units = pairs + spec.data.probes_among(pairs)
    return Amount(units, 2 * width, FORWARD, 2 * width, 0, 0, (spec.lengths,), held=BYTES[FLOAT32], logits=2 * width,
                  copies=3, responses=2, wide=True)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, data=spec.data.shortened(steps))


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    """Of the probes, whose other metrics it stands beside."""
    import pandas

    from gatebench.bench.metrics.geometry import GEOMETRY

    found = pandas.read_parquet(folder / GEOMETRY_FILE)
    probes = found[found["split"] != PAIRS].set_index(["split", "prompt"])
    return GEOMETRY.table(probes).reset_index()


STAGE = Stage("geometry", VERSION, Spec, run, amount, facts=("pairs",), shorten=shorten, by_prompt=by_prompt)
