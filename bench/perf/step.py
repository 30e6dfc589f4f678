"""A training step of ours against stock TRL's: turns taken on the same batches in one process, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.data.source import DataSource
from bench.perf import memory
from bench.perf.breakdown import Breakdown, breakdown
from bench.perf.contestants import DEFAULT, OURS, PLAIN, PRECOMPUTED, TWO_ROWS, Contestant, Work, make_work

STEPS = 20
UNTIMED = 2  # steps at first: allocators and caches fill
LOSSES = ("dpo", "ipo", "cal_dpo", "dpo_shift", "sft")
TRLS = {"dpo": "sigmoid", "ipo": "ipo"}  # the losses that TRL has under its own names
TIMED = (DEFAULT, PRECOMPUTED, PLAIN, OURS)
WEIGHED = (DEFAULT, OURS)
GATES: tuple[Mapping[str, str], ...] = ({"gate": "none"}, {"gate": "seq", "gate_alpha": "5/tau", "gate_tau": "q75"})
LARGE_VOCABULARY = 150_000
MATRIX = 2048
PRODUCTS = 10
Tick = Callable[[str], None]


@dataclass(frozen=True)
class StepFigures:
    """One model's figures.

    seconds: medians a step by contestant; breakdown: seconds a step by part; loss_differences: largest difference of a
    step's loss from TRL's over STEPS steps, by objective and gate; memory and memory_large_vocabulary: bytes a step
    needs beyond weights and optimizer, by contestant.
    """

    parameters: int
    seconds: Mapping[str, float]
    tokens_per_second: float
    share_of_peak: float
    breakdown: Breakdown
    loss_differences: Mapping[str, float]
    memory: Mapping[str, int]
    memory_large_vocabulary: Mapping[str, int]

    def to_json(self) -> dict[str, float]:
        """The keys that scripts read."""
        ours, large = self.seconds[OURS], self.memory_large_vocabulary
        return {
            "step.vs_trl_default": self.seconds[DEFAULT] / ours,
            "step.vs_trl_precomputed": self.seconds[PRECOMPUTED] / ours,
            "step.vs_trl_without_checkpointing": self.seconds[PLAIN] / ours,
            "step.max_loss_difference": max(self.loss_differences.values()),
            "step.tokens_per_second": self.tokens_per_second,
            "step.share_of_peak": self.share_of_peak,
            "step.peak_memory_ratio": self.memory[OURS] / self.memory[DEFAULT],
            "step.peak_memory_ratio_large_vocabulary": large[OURS] / large[DEFAULT],
        }


TICKS = len(TIMED) + STEPS + 1 + len(LOSSES) * len(GATES) + 2 * len(WEIGHED)  # of `measure`


def measure(model: str, data: DataSource, tick: Tick) -> StepFigures:
    """model: a built-in of the ladder. tick: told before every part of the work."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as large:
        work = make_work(model, data, STEPS, Path(folder))
        seconds, ours = _timed(work, tick)
        tick("where the time goes")
        tokens = statistics.median(int(ours.batch(number)["attention_mask"].sum()) for number in range(STEPS))
        parts = breakdown(ours, seconds[OURS])
        rate = _operations(ours) / seconds[OURS]
        parameters = ours.trainer.model.num_parameters()
        del ours
        return StepFigures(
            parameters, seconds, tokens / seconds[OURS], rate / peak(), parts,
            _loss_differences(work, tick), _weighed(work, tick),
            _weighed(make_work(model, data, memory.STEPS + 1, Path(large), LARGE_VOCABULARY), tick),
        )  # fmt: skip


def peak() -> float:
    """Floating-point operations a second of a large float32 matrix product here: the best of PRODUCTS."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = torch.randn(2, MATRIX, MATRIX, device=device)
    times = []
    for _ in range(PRODUCTS):
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


def _loss_differences(work: Work, tick: Tick) -> dict[str, float]:
    found = {}
    for loss in LOSSES:
        for gate in GATES:
            tick(f"losses of {loss}, gate {gate['gate']}")
            found[f"{loss}, gate {gate['gate']}"] = loss_difference(work, loss, gate)
    return found


def loss_difference(work: Work, loss: str, gate: Mapping[str, str], steps: int = STEPS) -> float:
    """The largest difference of a step's loss between our layout and TRL's two rows, over `steps` steps of each.

    Losses that TRL has are compared with stock TRL where there is no gate, the others with our objective on TRL's own
    forward pass.
    """
    stock = TRLS.get(loss) if gate["gate"] == "none" else None
    theirs = Contestant(PLAIN, work, loss_type=stock) if stock else Contestant(TWO_ROWS, work, loss=loss, **gate)
    ours = Contestant(OURS, work, loss=loss, **gate)
    return max(abs(theirs.step(number) - ours.step(number)) for number in range(steps))


def _weighed(work: Work, tick: Tick) -> dict[str, int]:
    found = {}
    for key in WEIGHED:
        tick(f"memory of {key}")
        found[key] = memory.of_a_step(key, work)
    return found


def _operations(contestant: Contestant) -> float:
    """Floating-point operations of matrix products and attention a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        for number in range(STEPS):
            contestant.step(number)
    return float(counter.get_total_flops()) / STEPS
