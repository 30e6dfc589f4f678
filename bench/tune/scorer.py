"""A model's metrics on the tuning probes: the first probes of training prompts, which never judge the winner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import is_unrelated
from gatebench.bench.metrics.dynamics import DYNAMICS, Probes
from gatebench.bench.stages import dynamics, probing

if TYPE_CHECKING:
    import pandas

    from gatebench.objectives.causal_lm import CausalLM
    from gatebench.objectives.layout.scoring import Reader, Scored

NOW = 1  # stands for whatever step the model has reached


class Scorer:
    """Scores what the wanted metrics ask for: chosen and rejected, and unrelated responses where one needs them."""

    def __init__(self, spec: dynamics.Spec, policy: Path, start: Path, tuned_on: int, wanted: Sequence[str]) -> None:
        """policy: the warm-up's folder; start: the dynamics stage of step 0; tuned_on: how many of the first probes."""
        import pandas

        from gatebench.bench.data.adapters import load
        from gatebench.bench.models.encoding import Encoder
        from gatebench.bench.models.loading import load_tokenizer

        rows = pandas.read_parquet(start / probing.PROBES, filters=[("split", "==", "train")])
        pair = rows[rows["kind"].isin(("chosen", "rejected"))]
        metrics = [metric for metric in DYNAMICS.metrics() if metric.tunable]
        more = any(metric.compute(Probes(pair, 0)) is None for metric in metrics if metric.name in wanted)
        kinds = {
            kind for kind in rows["kind"].unique() if kind in ("chosen", "rejected") or (more and is_unrelated(kind))
        }
        encoded = Encoder(load_tokenizer(policy), spec.lengths).probes(load(spec.data).probes["train"])
        self.metrics = metrics
        self.probes = [
            (prompt, replace(probe, responses={kind: ids for kind, ids in probe.responses.items() if kind in kinds}))
            for prompt, probe in encoded if prompt < tuned_on
        ]  # fmt: skip
        scored = {prompt for prompt, _ in self.probes}
        self.reader: Reader | None = None  # of the first model that is scored: how all of a search are read
        self.start = rows[rows["kind"].isin(kinds) & rows["prompt"].isin(scored)]

    def __call__(self, model: CausalLM) -> dict[str, float]:
        """Means over the tuning probes of the change since step 0, in nats a response; accuracy as a share."""
        import pandas

        probes = Probes(pandas.concat([self.start, self._now(model)], ignore_index=True), NOW)
        found = {metric.name: metric.compute(probes) for metric in self.metrics}
        return {name: float(values.mean()) for name, values in found.items() if values is not None}

    def _now(self, model: CausalLM) -> pandas.DataFrame:
        import pandas
        import torch

        from gatebench.objectives.causal_lm import without_adapter
        from gatebench.objectives.layout.scoring import map_batches, reader_of

        def rows_of(scored: Scored) -> pandas.DataFrame:
            frame = pandas.DataFrame(probing.response_sums(scored))
            frame["prompt"] = [self.probes[i][0] for i, _ in scored.owners]
            frame["kind"] = [list(self.probes[i][1].responses)[k] for i, k in scored.owners]
            return frame

        prompts = [probe.prompt for _, probe in self.probes]
        responses = [list(probe.responses.values()) for _, probe in self.probes]
        network = without_adapter(model)
        self.reader = replace(self.reader or reader_of(network, prompts, responses), model=network)
        with torch.no_grad():  # no inference mode: what a model keeps for later, it may train with
            parts = map_batches(
                self.reader, prompts, responses, rows_of, lambda share: None,
                {(i, k): own for i, (_, probe) in enumerate(self.probes) for k, own in probe.gaps()},
            )  # fmt: skip
        return pandas.concat(parts, ignore_index=True).assign(split="train", step=NOW)
