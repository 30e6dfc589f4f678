"""A training step of ours against stock TRL's: turns taken on the same batches in one process, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatebench.bench.perf.breakdown import Breakdown, breakdown
from gatebench.bench.perf.trainers import (
    DEFAULT,
    OURS,
    PACKED,
    PRECOMPUTED,
    STEPS,
    WITHOUT_CHECKPOINTING,
    Contestant,
    Work,
)

UNTIMED = 2  # steps at first: allocators and caches fill
TIMED = (DEFAULT, PRECOMPUTED, WITHOUT_CHECKPOINTING, OURS, PACKED)
TICKS = len(TIMED) + STEPS + 1  # of `measure`
MATRIX = 2048
PRODUCTS_TIMED = 10
Tick = Callable[[str], None]


@dataclass(frozen=True)
class StepFigures:
    """pairs: of a step; seconds: medians a step by contestant; breakdown: seconds a step of ours by part."""

    parameters: int
    pairs: int
    dtype: str
    seconds: Mapping[str, float]
    tokens_per_second: float
    share_of_peak: float
    breakdown: Breakdown

    def to_json(self) -> dict[str, float]:
        """The keys that scripts read."""
        ours = self.seconds[OURS]
        return {
            **{f"step.vs_{key}": seconds / ours for key, seconds in self.seconds.items() if key != OURS},
            "step.tokens_per_second": self.tokens_per_second,
            "step.share_of_peak": self.share_of_peak,
        }


def measure(work: Work, tick: Tick) -> StepFigures:
    """tick: told before every part of the work."""
    seconds, ours = _timed(work, tick)
    tick("where the time goes")
    tokens = statistics.median(int(ours.batch(number)["attention_mask"].sum()) for number in range(STEPS))
    parts = breakdown(ours, seconds[OURS])
    rate = _operations(ours) / seconds[OURS]
    return StepFigures(
        ours.trainer.model.num_parameters(), work.batch_size, work.dtype, seconds, tokens / seconds[OURS],
        rate / peak(work.dtype), parts,
    )  # fmt: skip


def peak(dtype: str) -> float:
    """Floating-point operations a second of a large matrix product here: the best of PRODUCTS."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = torch.randn(2, MATRIX, MATRIX, device=device, dtype=getattr(torch, dtype))
    times = []
    for _ in range(PRODUCTS_TIMED):
        started = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * MATRIX**3 / min(times)


def _timed(work: Work, tick: Tick) -> tuple[dict[str, float], Contestant]:
    """Median seconds a step by contestant, and ours to go on with."""
    contestants = {}
    for key in TIMED:
        tick(f"{key} starts")
        contestants[key] = Contestant(key, work)
    seconds: dict[str, list[float]] = {key: [] for key in contestants}
    for number in range(STEPS):
        tick(f"step {number + 1} of {STEPS}")
        for key, contestant in contestants.items():
            started = time.perf_counter()
            contestant.step(number)
            seconds[key].append(time.perf_counter() - started)
    return {key: statistics.median(values[UNTIMED:]) for key, values in seconds.items()}, contestants[OURS]


def _operations(contestant: Contestant) -> float:
    """Floating-point operations of matrix products and attention a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        for number in range(STEPS):
            contestant.step(number)
    return float(counter.get_total_flops()) / STEPS
