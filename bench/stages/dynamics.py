"""The learning dynamics of one cell: every probe's log-prob at step 0, every evaluate_every steps and the end.

Without a `train` input it measures step 0 alone, the warm-up policy, which all cells after that warm-up share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.source import DataSource
from bench.models.encoding import EncodedProbe, Lengths
from bench.stages.stage import Facts, Report

if TYPE_CHECKING:
    import pandas

VERSION = 2
PROBES = "probes.parquet"
METRICS = "metrics.json"
CURVES = "curves.parquet"
CHOSEN = "chosen"
Encoded = dict[str, list[tuple[int, EncodedProbe]]]


@dataclass(frozen=True)
class Spec:
    lengths: Lengths
    dtype: str
    data: DataSource


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas

    from bench.data.adapters import load
    from bench.metrics import cell_metrics, curves
    from bench.models.encoding import Encoder
    from bench.models.loading import MODEL, load_policy, load_tokenizer
    from bench.store import write_json

    encoder = Encoder(load_tokenizer(inputs["policy"]), spec.lengths)
    encoded = {split: encoder.probes(rows) for split, rows in load(spec.data).probes.items()}
    tokens = sum(len(p.prompt) + sum(map(len, p.responses.values())) for rows in encoded.values() for _, p in rows)
    reference = load_policy(inputs["policy"], spec.dtype).eval()
    if "train" not in inputs:
        frame = measure(reference, reference, encoded, 0, lambda share: report(share, "probes at step 0"))
        frame.to_parquet(out / PROBES)
        return {"tokens": tokens, "probes": {split: len(rows) for split, rows in encoded.items()}}

    saved = sorted(path.name for path in (inputs["train"] / "checkpoints").glob("*"))
    final = int(pandas.read_parquet(inputs["train"] / "curves.parquet", columns=["step"])["step"].max())
    folders = [(int(name), f"checkpoints/{name}") for name in saved] + [(final, MODEL)]
    frames = [pandas.read_parquet(inputs["start"] / PROBES)]
    for index, (step, folder) in enumerate(folders):
        model = load_policy(inputs["train"], spec.dtype, folder).eval()
        place = f"probes at step {step}"
        frames.append(
            measure(model, reference, encoded, step, lambda share: report((index + share) / len(folders), place))  # noqa: B023
        )
    frame = pandas.concat(frames, ignore_index=True)
    frame.to_parquet(out / PROBES)
    curves(frame).to_parquet(out / CURVES)
    write_json(out / METRICS, cell_metrics(frame))
    return {"tokens": tokens * len(folders), "steps": [0, *(step for step, _ in folders)]}


def measure(model: Any, reference: Any, encoded: Encoded, step: int, report: Any) -> pandas.DataFrame:
    """One row a probe and kind: step, split, prompt, kind, tokens, log_prob (summed).

    The rows of the chosen response also have argmax (summed log-prob of the most likely tokens), entropy, mass_target,
    mass_top1 (0 where the target is the most likely token), mass_rest (means over tokens) and kl (summed
    KL(policy || reference)). Nats.
    """
    import pandas
    import torch

    from bench.stages.scoring import each_batch

    found: list[pandas.DataFrame] = []
    total, done = sum(map(len, encoded.values())), 0
    with torch.inference_mode():
        for split, rows in encoded.items():
            kinds = list(rows[0][1].responses) if rows else []
            prompts = [probe.prompt for _, probe in rows]
            responses = [[probe.responses[kind] for kind in kinds] for _, probe in rows]
            for group, layout, logits in each_batch(model, prompts, responses):
                frame = pandas.DataFrame(response_sums(logits, layout, len(group), kinds))
                frame["prompt"] = [rows[i][0] for i in group for _ in kinds]
                frame["kind"] = kinds * len(group)
                frame["split"] = split
                found.append(frame)
                done += len(group)
                report(0.8 * done / total)
    frame = pandas.concat(found, ignore_index=True)
    frame.insert(0, "step", step)
    return add_kl(frame, model, reference, encoded)


def response_sums(logits: Any, layout: Any, prompts: int, kinds: list[str]) -> dict[str, Any]:
    """Quantities of every response from [N, V] logits; those of the whole distribution for the chosen one only,
    which is most of the arithmetic saved."""
    import torch

    from objectives.branches import target_log_probs

    responses = prompts * len(kinds)

    def total(values: Any, response: Any) -> Any:
        return torch.zeros(responses, dtype=torch.float64, device=values.device).index_add(0, response, values.double())

    target = target_log_probs(logits, layout.targets)
    found = {"tokens": total(torch.ones_like(target), layout.response), "log_prob": total(target, layout.response)}
    places = (layout.response % len(kinds) == kinds.index(CHOSEN)).nonzero().squeeze(1)
    response, target = layout.response[places], target[places]
    log_p = logits[places].log_softmax(dim=1)
    top = log_p.max(dim=1).values
    beside = torch.where(top > target, top.exp(), torch.zeros_like(top))
    mean = 1 / found["tokens"].clamp(min=1)
    found |= {
        "argmax": total(top, response),
        "entropy": total(-(log_p.exp() * log_p).sum(dim=1), response) * mean,
        "mass_target": total(target.exp(), response) * mean,
        "mass_top1": total(beside, response) * mean,
    }
    found["mass_rest"] = 1 - found["mass_target"] - found["mass_top1"]
    is_chosen = torch.arange(responses, device=target.device) % len(kinds) == kinds.index(CHOSEN)
    for name in ("argmax", "entropy", "mass_target", "mass_top1", "mass_rest"):
        found[name] = found[name].masked_fill(~is_chosen, torch.nan)
    return {"tokens": found.pop("tokens").long().tolist(), **{name: values.tolist() for name, values in found.items()}}


def add_kl(frame: pandas.DataFrame, model: Any, reference: Any, encoded: Encoded) -> pandas.DataFrame:
    """Adds kl: KL(policy || reference) summed along the chosen response, in nats."""
    import torch

    from bench.stages.scoring import batches, response_logits

    values: dict[tuple[str, int, str], float] = {}
    with torch.inference_mode():
        for split, rows in encoded.items():
            for group in batches([len(p.prompt) + len(p.responses[CHOSEN]) for _, p in rows]):
                prompts, own = [rows[i][1].prompt for i in group], [[rows[i][1].responses[CHOSEN]] for i in group]
                layout, logits = response_logits(model, prompts, own)
                log_p = logits.log_softmax(dim=1)
                log_q = (
                    response_logits(reference, prompts, own)[1].log_softmax(dim=1) if model is not reference else log_p
                )
                kl = (log_p.exp() * (log_p - log_q)).sum(dim=1).double()
                summed = torch.zeros(len(group), dtype=torch.float64, device=kl.device).index_add(
                    0, layout.response, kl
                )
                values |= {(split, rows[i][0], CHOSEN): value for i, value in zip(group, summed.tolist(), strict=True)}
    places = zip(frame["split"], frame["prompt"], frame["kind"], strict=True)
    frame["kl"] = [values.get(place) for place in places]
    return frame
