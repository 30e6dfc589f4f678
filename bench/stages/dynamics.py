"""The learning dynamics of one cell: every probe's log-prob at step 0, every evaluate_every steps and the end.

Without a `train` input it measures step 0 alone, the warm-up policy, which all cells after that warm-up share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import StageFailed
from gatebench.bench.models.encoding import EncodedProbe, Lengths
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.stages.finite import check_finite
from gatebench.bench.stages.stage import CAUTIONS, FORWARD, SCORED, Amount, Facts, Inputs, Report, Stage
from gatebench.bench.stages.train import checkpoints_of

if TYPE_CHECKING:
    import pandas
    import torch

    from gatebench.objectives.layout.scoring import Reader, Scored

VERSION = 5
PROBES = "probes.parquet"
CURVES = "curves.parquet"
CHOSEN, REJECTED = "chosen", "rejected"
# Where the mass along a rejected response can be; a token belongs to the first that it is in.
MASSES = ("target", "top1", "chosen", "chosen_paraphrases", "rejected_paraphrases", "unrelated", "rest")
Encoded = dict[str, list[tuple[int, EncodedProbe]]]


@dataclass(frozen=True)
class Spec:
    """dtype: that of the training; measured is in float32 whatever it is, since what an update changes lies below what
    bfloat16 can tell apart. weights: those that the training began from, ModelSource.weights."""

    lengths: Lengths
    dtype: str
    data: DataSource
    weights: str = field(default="", metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas

    from gatebench.bench.data.adapters import load
    from gatebench.bench.metrics.dynamics import curves
    from gatebench.bench.models.encoding import Encoder, unread
    from gatebench.bench.models.loading import MODEL, in_float32, load_policy, load_tokenizer
    from gatebench.objectives.layout.scoring import reader_of

    encoder = Encoder(load_tokenizer(inputs["policy"]), spec.lengths)
    encoded = {split: encoder.probes(rows) for split, rows in load(spec.data).probes.items()}
    tokens = sum(len(p.prompt) + sum(map(len, p.responses.values())) for rows in encoded.values() for _, p in rows)
    probes = [probe for rows in encoded.values() for _, probe in rows]
    texts = [list(probe.responses.values()) for probe in probes]
    policy = in_float32(load_policy(inputs["policy"], spec.weights or FLOAT32)).eval()
    reference = reader_of(policy, [probe.prompt for probe in probes], texts)
    cautions = [reference.caution] if reference.caution else []
    for split, rows in load(spec.data).probes.items():
        cautions += unread(spec.data, f"{split} probes", len(encoded[split]), len(rows))
    if "train" not in inputs:
        frame = measure_probes(reference, reference, encoded, 0, lambda share: report(share, "probes at step 0"))
        frame.to_parquet(out / PROBES)
        return {
            "tokens": tokens, "probes": {split: len(rows) for split, rows in encoded.items()}, CAUTIONS: cautions,
        }  # fmt: skip

    saved = sorted(path.name for path in (inputs["train"] / "checkpoints").glob("*"))
    final = int(pandas.read_parquet(inputs["train"] / "curves.parquet", columns=["step"])["step"].max())
    folders = [(int(name), f"checkpoints/{name}") for name in saved] + [(final, MODEL)]
    frames = [pandas.read_parquet(inputs["start"] / PROBES)]
    for index, (step, folder) in enumerate(folders):
        # read as the policy that it was trained from, so that no two steps differ by how they were read
        model = replace(reference, model=load_policy(inputs["train"], FLOAT32, folder).eval())
        place = f"probes at step {step}"
        frames.append(
            measure_probes(model, reference, encoded, step, lambda share: report((index + share) / len(folders), place))  # noqa: B023
        )
    frame = pandas.concat(frames, ignore_index=True)
    frame.to_parquet(out / PROBES)
    curves(frame).to_parquet(out / CURVES)
    return {"tokens": tokens * len(folders), "steps": [0, *(step for step, _ in folders)], CAUTIONS: cautions}


def measure_probes(
    model: Reader, reference: Reader, encoded: Encoded, step: int, report: Callable[[float], None]
) -> pandas.DataFrame:
    """One row a probe and kind: step, split, prompt, kind, tokens, log_prob (summed), in nats.

    The rows of the chosen response also have argmax (summed log-prob of the most likely tokens), entropy, mass_target,
    mass_top1 (0 where the target is the most likely token), mass_rest (means over tokens) and kl (summed
    KL(policy || reference)). Those of the rejected response have mass_target, mass_top1 and what is left of the rest
    in mass_chosen, mass_chosen_paraphrases, mass_rejected_paraphrases, mass_unrelated: the mean mass on tokens that
    those responses consist of, each token counted once, in this order. The masses of a row sum to 1.

    Raises StageFailed for log-probs that are not numbers.
    """
    import pandas
    import torch

    from gatebench.objectives.layout.scoring import map_batches

    def rows_of(split: str, rows: list[tuple[int, EncodedProbe]], scored: Scored) -> pandas.DataFrame:
        kinds = [list(rows[i][1].responses)[k] for i, k in scored.owners]
        try:
            frame = pandas.DataFrame(response_sums(scored))
        except StageFailed as failure:
            raise StageFailed(f"probes at step {step}: {failure}") from None
        frame["split"], frame["kind"] = split, kinds
        frame["prompt"] = [rows[i][0] for i, _ in scored.owners]
        probes = [rows[i][1] for i, _ in scored.owners]
        for wanted, quantities in ((CHOSEN, chosen_quantities), (REJECTED, rejected_quantities)):
            places = [at for at, kind in enumerate(kinds) if kind == wanted]
            if places:
                found = quantities(scored.only(places), [probes[at] for at in places], model, reference)
                for name, values in found.items():
                    frame.loc[places, name] = values.tolist()
        return frame

    frames: list[pandas.DataFrame] = []
    total, done = sum(map(len, encoded.values())), 0
    with torch.inference_mode():
        for split, rows in encoded.items():
            prompts = [probe.prompt for _, probe in rows]
            responses = [list(probe.responses.values()) for _, probe in rows]
            frames += map_batches(
                model, prompts, responses, lambda scored: rows_of(split, rows, scored),  # noqa: B023
                lambda share: report((done + share * len(rows)) / total),  # noqa: B023
                {(i, k): own for i, (_, probe) in enumerate(rows) for k, own in probe.gaps()},
            )  # fmt: skip
            done += len(rows)
    frame = pandas.concat(frames, ignore_index=True).sort_values(["split", "prompt", "kind"], ignore_index=True)
    frame.insert(0, "step", step)
    return frame


def response_sums(scored: Scored) -> dict[str, list[float]]:
    """tokens and log_prob of every response. Raises StageFailed for log-probs that are not numbers."""
    import torch

    from gatebench.objectives.layout.shared_prompt import target_log_probs

    target = target_log_probs(scored.logits, scored.targets)
    tokens = scored.sums(torch.ones_like(target)).long()
    log_prob: list[float] = scored.sums(target).tolist()
    check_finite(log_prob, "responses scored at once")
    return {"tokens": tokens.tolist(), "log_prob": log_prob}


def chosen_quantities(
    scored: Scored, probes: Sequence[EncodedProbe], model: Reader, reference: Reader
) -> dict[str, torch.Tensor]:
    """Quantities of the whole distribution along chosen responses, [responses] each."""
    import torch

    from gatebench.objectives.layout.scoring import counted, score

    log_p = scored.logits.log_softmax(dim=1)
    target = log_p.gather(1, scored.targets[:, None]).squeeze(1)
    top = log_p.max(dim=1).values
    mean = 1 / scored.sums(torch.ones_like(target))
    if model is reference:
        kl = torch.zeros_like(target)
    else:
        responses = [probe.responses[CHOSEN] for probe in probes]
        logits = score(reference, [probe.prompt for probe in probes], responses)
        gaps = {(i, 0): own for i, probe in enumerate(probes) if (own := probe.learned.get(CHOSEN))}
        kept = counted([(i, 0) for i in range(len(probes))], responses, gaps)
        logits = logits if kept is None else logits[kept.to(logits.device)]
        kl = (log_p.exp() * (log_p - logits.log_softmax(dim=1))).sum(dim=1)
    found = {
        "argmax": scored.sums(top),
        "entropy": scored.sums(-(log_p.exp() * log_p).sum(dim=1)) * mean,
        "mass_target": scored.sums(target.exp()) * mean,
        "mass_top1": scored.sums(torch.where(top > target, top.exp(), torch.zeros_like(top))) * mean,
        "kl": scored.sums(kl),
    }
    found["mass_rest"] = 1 - found["mass_target"] - found["mass_top1"]
    return found


def rejected_quantities(
    scored: Scored, probes: Sequence[EncodedProbe], model: Reader, reference: Reader
) -> dict[str, torch.Tensor]:
    """The masses along rejected responses, [responses] each."""
    import torch

    p = scored.logits.softmax(dim=1)
    classes = torch.stack([token_classes(probe, p.shape[1]) for probe in probes]).to(p.device)[scored.response]
    classes = classes.scatter(1, p.argmax(dim=1, keepdim=True), MASSES.index("top1"))
    classes = classes.scatter(1, scored.targets[:, None], MASSES.index("target"))
    masses = torch.zeros(len(p), len(MASSES), device=p.device).scatter_add(1, classes, p)
    mean = 1 / scored.sums(torch.ones(len(p), device=p.device))
    return {f"mass_{name}": scored.sums(masses[:, column]) * mean for column, name in enumerate(MASSES)}


def token_classes(probe: EncodedProbe, vocabulary: int) -> torch.Tensor:
    """[V] the index in MASSES of every token: of the first of the listed responses that it occurs in."""
    import torch

    from gatebench.bench.data.pairs import role_of

    classes = torch.full((vocabulary,), MASSES.index("rest"))
    for name in reversed(MASSES):
        for kind, tokens in probe.responses.items():
            if role_of(kind) == name:
                classes[tokens] = MASSES.index(name)
    return classes


KINDS_A_PROBE = 12  # responses of one prompt that are followed, about


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount | None:
    if pairs is None:
        return None
    width, trained = spec.lengths.max_length, inputs.get("train")
    times = checkpoints_of(trained.recipe, pairs) if trained else 1
    probes = min(spec.data.probes, pairs) + min(spec.data.probes, spec.data.test or spec.data.probes)
    like = (spec.lengths, trained is None)
    return Amount(times * probes, KINDS_A_PROBE * width, FORWARD, SCORED * width, 2, 0, like)


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, data=spec.data.shortened(steps))


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    """The change of every probe from step 0 to the true end."""
    import pandas

    from gatebench.bench.metrics.dynamics import probe_deltas

    last = int(pandas.read_parquet(folder / CURVES, columns=["step"])["step"].max())
    return probe_deltas(pandas.read_parquet(folder / PROBES, filters=[("step", "in", (0, last))]), last)


STAGE = Stage("dynamics", VERSION, Spec, run, amount, guess=4.0, facts=("steps",), shorten=shorten, by_prompt=by_prompt)
