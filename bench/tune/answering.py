"""A model's answers in a search: to the prompts of the tuning probes, never to those that judge the winner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.source import DataSource
from gatebench.bench.metrics.answers import ANSWERS, Answers
from gatebench.bench.stages import generate

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import CausalLM


class AnswerScorer:
    """The metrics of answers that a search can be asked for, by transformers whichever engine the suite names: a
    server of its own for a few prompts at every rung would take longer than they do."""

    def __init__(self, spec: generate.Spec, probed: DataSource, policy: Path, tuned_on: int) -> None:
        """probed: where the probes are; policy: the warm-up's folder; tuned_on: how many of the first are answered."""
        from gatebench.bench.data.adapters import load
        from gatebench.bench.models.encoding import Encoder
        from gatebench.bench.models.loading import load_tokenizer

        self.spec = spec
        self.tokenizer = load_tokenizer(policy)
        texts = [probe.prompt for probe in load(probed).probes["train"][:tuned_on]]
        self.prompts = generate.to_answer(texts, Encoder(self.tokenizer, spec.lengths), spec.samples)

    def __call__(self, model: CausalLM) -> dict[str, float]:
        """Means over prompts, by the names of `summary.json`. The random numbers of a training that is looked at go on
        as if nobody had."""
        import torch

        from gatebench.bench.engines import transformers
        from gatebench.objectives.causal_lm import without_adapter

        prefix = ANSWERS.splits[0][1].prefix
        with torch.random.fork_rng():
            drawn = transformers.generate(
                without_adapter(model),
                self.tokenizer,
                [own.ids for own in self.prompts],
                self.spec.sampling,
                lambda share: None,
            )
        answers = Answers(generate.answer_table(self.prompts, drawn, self.spec, graded=True))
        found = {metric.name: metric.compute(answers) for metric in ANSWERS.metrics() if metric.tunable}
        return {f"{prefix}{name}": float(values.mean()) for name, values in found.items() if values is not None}
