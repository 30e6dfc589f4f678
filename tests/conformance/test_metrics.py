"""Every registered metric, and a toy one that touches nothing but its own function."""

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest

from gatebench.bench.analysis.tables import results_table
from gatebench.bench.metrics import registry
from gatebench.bench.metrics.answers import ANSWERS, Answers
from gatebench.bench.metrics.dynamics import DYNAMICS, Probes, probe_deltas
from gatebench.bench.metrics.verdicts import VERDICTS, Verdicts
from gatebench.bench.suite.claims import Claim
from gatebench.bench.suite.tuning import Tune
from tests.conformance.metric import MetricConformance
from tests.toys.metric import registered

KINDS = ("chosen", "rejected", "chosen_a", "reject_a", "irr_train", "random_words", "other_1")
MASSES = ("target", "top1", "chosen", "chosen_paraphrases", "rejected_paraphrases", "unrelated", "rest")


def probes() -> pandas.DataFrame:
    """Values of five prompts a split at steps 0 and 4, all kinds and quantities."""
    numbers = np.random.default_rng(0)
    rows = [
        {"step": step, "split": split, "prompt": prompt, "kind": kind, "tokens": 3 + prompt,
         "log_prob": -float(numbers.uniform(1, 9)), "argmax": -float(numbers.uniform(0, 1)),
         "entropy": float(numbers.uniform(0, 3)), "kl": float(numbers.uniform(0, 1)),
         **{f"mass_{name}": float(numbers.uniform(0, 0.1)) for name in MASSES}}
        for step in (0, 4) for split in ("train", "test") for prompt in range(5) for kind in KINDS
    ]  # fmt: skip
    return pandas.DataFrame(rows)


def answers() -> pandas.DataFrame:
    ids = [[1, 2, 3, 1, 2], [4], [1, 2, 9, 9], [7, 7, 7]]
    return pandas.DataFrame(
        {
            "prompt": range(4),
            "ids": ids,
            "finish_reason": ["stop", "length", "stop", "stop"],
            "passed": [True, False] * 2,
        }
    )


def verdicts() -> pandas.DataFrame:
    rows = pandas.DataFrame({"prompt": range(4), "first": [1.0, 0.5, math.nan, 0.0], "second": [1.0, 0.0, 1.0, 0.0]})
    return rows.assign(tokens=[3, 9, 4, 1], opponent_tokens=[5, 5, 5, 5]).set_index("prompt")


MEASURED = {
    DYNAMICS: lambda step: Probes(probes()[::step], 4),
    ANSWERS: lambda step: Answers(answers()[::step]),
    VERDICTS: lambda step: Verdicts(verdicts()[::step]),
}
METRICS = [metric for source in MEASURED for metric in source.metrics()]


class TestMetrics(MetricConformance):
    @pytest.fixture(autouse=True, params=METRICS, ids=lambda metric: f"{metric.source.stage}-{metric.name}")
    def chosen(self, request: pytest.FixtureRequest) -> None:
        self.metric = request.param

    def measured(self, backwards: bool = False) -> object:
        return MEASURED[self.metric.source](-1 if backwards else 1)


class TestToy(MetricConformance):
    @pytest.fixture(autouse=True)
    def chosen(self):
        with registered():
            self.metric = registry.get_metric("toy_lead")
            yield

    def measured(self, backwards: bool = False) -> object:
        return Probes(probes()[:: -1 if backwards else 1], 4)


def test_a_new_metric_is_everywhere_without_another_file():
    claim = {"name": "c", "metric": "test_toy_lead", "contrast": {"gate": ["seq", "none"]}, "expect": "greater"}
    with registered():
        assert {"toy_lead", "test_toy_lead"} <= set(registry.names())
        assert "toy_lead" in probe_deltas(probes(), 4)
        assert "toy_lead" in registry.headline()
        assert "test_toy_lead" in registry.reported()
        assert "toy_lead" in registry.higher_is_better()
        assert Tune.model_validate({"maximize": "toy_lead"}).maximize == ["toy_lead"]
        assert Claim.model_validate(claim).metric == "test_toy_lead"
        assert "toy lead" in [column.name for column in results_table(summary()).head]
    assert "toy_lead" not in registry.names()


def summary():
    from gatebench.bench.analysis.aggregates import Group
    from gatebench.bench.analysis.summary import Summary

    metrics = {f"{name}{end}": 1.0 for name in registry.headline() for end in ("", "_lo", "_hi")}
    return Summary("s", "run", (), groups=(Group("m", "d", "dpo", "seq", (0,), metrics),))
