"""A model's metrics on the tuning probes: the first probes of training prompts, which never judge the winner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatebench.bench.data.pairs import is_unrelated
from gatebench.bench.stages import dynamics

if TYPE_CHECKING:
    from gatebench.bench.tune.trial import Task


class Judge:
    """Scores only what the study asks for: chosen, rejected and, for delta_others, the unrelated responses."""

    def __init__(self, spec: dynamics.Spec, policy: Path, start: Path, task: Task) -> None:
        """policy: the warm-up's folder; start: the dynamics stage of step 0."""
        import pandas

        from gatebench.bench.data.adapters import load
        from gatebench.bench.models.encoding import Encoder
        from gatebench.bench.models.loading import load_tokenizer

        encoded = Encoder(load_tokenizer(policy), spec.lengths).probes(load(spec.data).probes["train"])
        wants_others = "delta_others" in (*task.tune.maximize, *task.tune.subject_to)
        self.probes = [
            (prompt, probe.prompt, {k: tokens for k, tokens in probe.responses.items()
                                    if k in ("chosen", "rejected") or (wants_others and is_unrelated(k))})
            for prompt, probe in encoded if prompt < task.tuned_on
        ]  # fmt: skip
        frame = pandas.read_parquet(start / dynamics.PROBES, filters=[("split", "==", "train")])
        self.start = frame.set_index(["prompt", "kind"])["log_prob"]

    def __call__(self, model: Any) -> dict[str, float]:
        """Means over the tuning probes of the change since step 0, in nats a response; accuracy as a share."""
        import pandas
        import torch

        from gatebench.objectives.layout.scoring import map_batches

        def rows_of(scored: Any) -> list[tuple[int, str, float]]:
            sums = dynamics.response_sums(scored)["log_prob"]
            return [
                (self.probes[i][0], list(self.probes[i][2])[k], value)
                for (i, k), value in zip(scored.owners, sums, strict=True)
            ]

        with torch.inference_mode():
            parts = map_batches(
                model, [prompt for _, prompt, _ in self.probes], [list(own.values()) for _, _, own in self.probes],
                rows_of, lambda share: None,
            )  # fmt: skip
        frame = pandas.DataFrame([row for part in parts for row in part], columns=["prompt", "kind", "log_prob"])
        change = (frame.set_index(["prompt", "kind"])["log_prob"] - self.start).dropna().unstack("kind")
        margin = change["chosen"] - change["rejected"]
        found = {
            "delta_chosen": change["chosen"].mean(), "delta_rejected": change["rejected"].mean(),
            "margin": margin.mean(), "accuracy": (margin > 0).mean(),
        }  # fmt: skip
        unrelated = [kind for kind in change.columns if is_unrelated(kind)]
        if unrelated:
            found["delta_others"] = change[unrelated].mean(axis=1).mean()
        return {name: float(value) for name, value in found.items()}
