"""The log-probs of right and wrong answers of a local file under a policy; without a `train` input under the reference.

Their difference is the implicit reward of a preference loss, log pi/pi_ref, by which RewardBench ranks a DPO policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import CHANGED, file_digest
from gatebench.bench.errors import StageFailed, UserError
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

if TYPE_CHECKING:
    import pandas

    from gatebench.objectives.causal_lm import CausalLM

VERSION = 1
SCORED_FILE = "answers.parquet"


@dataclass(frozen=True)
class Spec:
    """content: digest of the file at path; texts, most: of `load_choices`; answers: how many there are, for estimates;
    weights: those that the training began from, ModelSource.weights."""

    content: str
    lengths: Lengths
    texts: str
    most: int | None
    weights: str = ""
    path: str = field(default="", metadata={"key": False})
    answers: int = field(default=0, metadata={"key": False})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """answers.parquet: prompt (its row), id, answer (its number), right, tokens, log_prob (summed, in nats).

    Raises StageFailed where no row can be read by the model, and for log-probs that are not numbers.
    """
    import pandas
    import torch

    from gatebench.bench.data.choices import load_choices, number_of_answers, numbered
    from gatebench.bench.data.pairs import Probe
    from gatebench.bench.models.encoding import Encoder
    from gatebench.bench.models.loading import load_tokenizer
    from gatebench.objectives.layout.scoring import Scored, map_batches, reader_of
    from gatebench.objectives.layout.shared_prompt import target_log_probs

    if file_digest(spec.path) != spec.content:
        raise UserError(f"{spec.path}: {CHANGED}")
    choices = load_choices(Path(spec.path), spec.texts, spec.most)
    asked = [list(numbered(choice)) for choice in choices]
    rows = [Probe(choice.prompt, {str(n): answer for n, (_, answer) in enumerate(own)})
            for choice, own in zip(choices, asked, strict=True)]  # fmt: skip
    probes = Encoder(load_tokenizer(inputs["policy"]), spec.lengths).probes(rows)
    if not probes:
        raise StageFailed(
            f"{spec.path}: no row can be read: prompts fill max_length {spec.lengths.max_length}, or the chat template "
            "refuses them; raise evaluate.implicit_reward.max_length"
        )
    prompts = [probe.prompt for _, probe in probes]
    responses = [list(probe.responses.values()) for _, probe in probes]
    model = _model(inputs, spec.weights)
    reader = reader_of(model, prompts, responses)
    found: list[dict[str, object]] = []

    def keep(scored: Scored) -> None:
        values = target_log_probs(scored.logits, scored.targets)
        tokens, sums = scored.sums(torch.ones_like(values)).tolist(), scored.sums(values).tolist()
        for (place, number), length, value in zip(scored.owners, tokens, sums, strict=True):
            row = probes[place][0]
            found.append({"prompt": row, "id": choices[row].identity, "answer": number,
                          "right": asked[row][number][0], "tokens": int(length), "log_prob": value})  # fmt: skip

    learned = {(place, number): own for place, (_, probe) in enumerate(probes) for number, own in probe.gaps()}
    with torch.inference_mode():
        map_batches(reader, prompts, responses, keep, lambda share: report(share, "rewards of answers"), learned)
    frame = pandas.DataFrame(found).sort_values(["prompt", "answer"], ignore_index=True)
    check_finite(frame["log_prob"], "answers of evaluate.implicit_reward")
    frame.to_parquet(out / SCORED_FILE)
    room = [spec.lengths.max_length - len(prompt) for prompt in prompts]
    full = sum(len(answer) >= most for most, own in zip(room, responses, strict=True) for answer in own)
    return {
        "tokens": int(frame["tokens"].sum()) + sum(map(len, prompts)), "rows": len(probes),
        CAUTIONS: [*_cautions(spec, len(rows) - len(probes), len(rows), full, number_of_answers(choices)),
                   *([reader.caution] if reader.caution else [])],
    }  # fmt: skip


def _model(inputs: Mapping[str, Path], weights: str) -> CausalLM:
    """In float32, as dynamics measures; an adapter on the weights that were frozen under it."""
    from gatebench.bench.models.loading import in_float32, load_adapted, load_policy
    from gatebench.objectives.causal_lm import without_adapter

    if "train" not in inputs:
        return in_float32(load_policy(inputs["policy"], weights or FLOAT32)).eval()
    adapted = load_adapted(inputs["train"])
    return without_adapter((adapted or load_policy(inputs["train"], FLOAT32)).eval())


def _cautions(spec: Spec, left_out: int, rows: int, full: int, answers: int) -> list[str]:
    name, told = Path(spec.path).name, []
    if left_out:
        told.append(
            f"{name}: {left_out} of {rows} rows are left out: their prompts leave no room for an answer, or the chat "
            "template refuses them"
        )
    if full:
        told.append(
            f"{name}: {full} of {answers} answers reach max_length {spec.lengths.max_length}, where they are cut; "
            "evaluate.implicit_reward.max_length raises it"
        )
    return told


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    width = spec.lengths.max_length
    positions = min(SCORED_POSITIONS, max(1, spec.answers) * width)
    return Amount(spec.answers, width, FORWARD, positions, 0, 0, (spec.lengths, spec.content), held=BYTES[FLOAT32],
                  logits=positions, copies=SCORE_COPIES, wide=True)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    most = steps if spec.most is None else min(steps, spec.most)
    return replace(spec, most=most, answers=min(spec.answers, 2 * steps))


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    """The metrics of the rewards, policy against reference."""
    import pandas

    from gatebench.bench.metrics.rewards import REWARDS, Rewards

    own, start = (pandas.read_parquet(place / SCORED_FILE) for place in (folder, inputs["start"]))
    rows = own.merge(start[["prompt", "answer", "log_prob"]], on=["prompt", "answer"], suffixes=("", "_start"))
    rows["reward"] = rows["log_prob"] - rows["log_prob_start"]
    return REWARDS.table(Rewards(rows)).rename_axis("prompt").reset_index().assign(split="implicit_reward")


STAGE = Stage("implicit_reward", VERSION, Spec, run, amount, facts=("rows",), shorten=shorten, by_prompt=by_prompt)
