"""The calibration error of the next token: by hand, against the plain formula, and the coverage of its interval."""

import numpy
import pandas
import pytest

from gatebench.bench.analysis.probe_arrays import Measured, with_intervals
from gatebench.bench.metrics.calibration import BINS, GAPS, error_by_prompt
from gatebench.bench.metrics.dynamics import probe_deltas
from tests.helpers import measured


def summed(confidence, right, prompt, split="train"):
    """Tokens -> the rows that probes keep: sums by bin."""
    bins = numpy.clip(numpy.ceil(confidence * BINS).astype(int), 1, BINS) - 1
    frame = pandas.DataFrame({"prompt": prompt, "bin": bins, "gap": confidence - right, "tokens": 1})
    gaps = frame.pivot_table(index="prompt", columns="bin", values="gap", aggfunc="sum", fill_value=0.0)
    gaps = gaps.reindex(columns=range(BINS), fill_value=0.0).set_axis(list(GAPS), axis=1)
    rows = gaps.assign(tokens=frame.groupby("prompt")["tokens"].sum(), split=split).reset_index()
    return rows.set_index(["split", "prompt"])


def plain_error(confidence, right):
    """Guo et al. 2017, eq. 3."""
    bins = numpy.clip(numpy.ceil(confidence * BINS).astype(int), 1, BINS)
    return sum(
        (bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean()) for b in numpy.unique(bins)
    )


def test_by_hand():
    # two tokens of 0.9, one right; one of 0.3, wrong: (|0.9 - 0.5| * 2 + 0.3) / 3
    rows = summed(numpy.array([0.9, 0.9, 0.3]), numpy.array([1.0, 0, 0]), [0, 1, 1])
    assert error_by_prompt(rows).mean() == pytest.approx((0.8 + 0.3) / 3)


def test_the_mean_over_prompts_is_the_error_of_each_split():
    rng = numpy.random.default_rng(0)
    frames, wanted = [], {}
    for split in ("train", "test"):
        confidence = rng.random(400)
        right = (rng.random(400) < confidence**2).astype(float)
        frames.append(summed(confidence, right, rng.integers(25, size=400), split))
        wanted[split] = plain_error(confidence, right)
    found = error_by_prompt(pandas.concat(frames)).groupby("split").mean()
    assert found.to_dict() == pytest.approx(wanted)


def test_the_interval_covers_the_error():
    """A policy that is too sure of itself: right as often as the square of its confidence, prompts of unequal length
    and difficulty; 300 runs of 80 prompts."""
    rng, hits = numpy.random.default_rng(3), 0
    edges = numpy.linspace(0, 1, BINS + 1)
    lows, highs = edges[:-1], edges[1:]
    # mean of c - c^2 over a bin, by its width: confidence is uniform; difficulty moves right about, with mean 0
    truth = float(((highs**2 - lows**2) / 2 - (highs**3 - lows**3) / 3).sum())
    for _ in range(300):
        lengths = rng.integers(5, 60, 80)
        prompt = numpy.repeat(numpy.arange(80), lengths)
        confidence = rng.random(len(prompt))
        chance = confidence**2 + 0.5 * rng.uniform(-1, 1, 80)[prompt] * numpy.minimum(confidence**2, 1 - confidence**2)
        values = error_by_prompt(summed(confidence, (rng.random(len(prompt)) < chance).astype(float), prompt))
        frame = values.rename("calibration_error").reset_index()
        bounds = with_intervals({0: Measured(measured().axes, frame)}, ["calibration_error"])["calibration_error"]
        hits += bounds.lo <= truth <= bounds.hi
    assert 0.92 <= hits / 300 <= 0.98


def test_a_table_without_it_has_none_and_one_with_it_has_both_metrics():
    rows = pandas.DataFrame([
        {"split": "train", "prompt": prompt, "kind": kind, "step": step, "log_prob": -1.0 - step, "tokens": 2,
         "argmax": -1.0, "entropy": 0.5, "kl": 0.0, "support": 0.9 - step / 10, **dict.fromkeys(GAPS, 0.0),
         GAPS[8]: 0.2 + step, GAPS[3]: -0.1}
        for prompt in range(3) for kind in ("chosen", "rejected") for step in (0, 1)
    ])  # fmt: skip
    found = probe_deltas(rows, 1)
    assert found["calibration_error"].mean() == pytest.approx((1.2 + 0.1) / 2)
    assert found["delta_calibration_error"].mean() == pytest.approx(0.5)
    assert found["support_kept"].tolist() == pytest.approx([0.8] * 3)
    assert found["delta_support"].tolist() == pytest.approx([-0.1] * 3)
    assert not [name for name in probe_deltas(rows.drop(columns=["support", *GAPS]), 1) if "support" in name]
