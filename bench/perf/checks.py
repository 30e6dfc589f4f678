"""What the speed must not cost: the losses of our layout against TRL's, and the memory of a step. No timing here, so
that all cores may work."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from gatebench.bench.machine import default_workers
from gatebench.bench.perf import memory
from gatebench.bench.perf.step import Tick
from gatebench.bench.perf.trainers import (
    DEFAULT,
    OURS,
    STEPS,
    TWO_ROWS,
    WITHOUT_CHECKPOINTING,
    Configuration,
    Contestant,
    Work,
)

LOSSES = ("dpo", "ipo", "cal_dpo", "dpo_shift", "sft")
TRLS = {"dpo": "sigmoid", "ipo": "ipo"}  # the losses that TRL has under its own names
GATES: tuple[Configuration, ...] = ({"gate": "none"}, {"gate": "seq", "gate_alpha": "5/tau", "gate_tau": "q75"})
WEIGHED = (DEFAULT, OURS)
LARGE_VOCABULARY = 150_000
TICKS = 1 + len(LOSSES) * len(GATES) + 2 * len(WEIGHED)  # of `measure`


@dataclass(frozen=True)
class CheckFigures:
    """loss_differences: largest difference of a step's loss from TRL's over STEPS steps, by objective and gate; memory
    and memory_large_vocabulary: bytes a step needs beyond weights and optimizer, by contestant."""

    loss_differences: Mapping[str, float]
    memory: Mapping[str, int]
    memory_large_vocabulary: Mapping[str, int]

    def to_json(self) -> dict[str, float]:
        """The keys that scripts read."""
        large = self.memory_large_vocabulary
        return {
            "step.max_loss_difference": max(self.loss_differences.values()),
            "step.peak_memory_ratio": self.memory[OURS] / self.memory[DEFAULT],
            "step.peak_memory_ratio_large_vocabulary": large[OURS] / large[DEFAULT],
        }


def measure(work: Work, large: Work, tick: Tick) -> CheckFigures:
    """large: the same with LARGE_VOCABULARY. tick: told before every part of the work."""
    return CheckFigures(_loss_differences(work, tick), _weighed(work, tick), _weighed(large, tick))


def _loss_differences(work: Work, tick: Tick) -> dict[str, float]:
    points = {f"{loss}, gate {gate['gate']}": (loss, gate) for loss in LOSSES for gate in GATES}
    found = {}
    tick(f"losses of {len(points)} objectives and gates over {STEPS} steps")
    with ProcessPoolExecutor(default_workers()[0], get_context("spawn"), _start) as pool:
        running = {pool.submit(loss_difference, work, *point, STEPS): name for name, point in points.items()}
        for done in as_completed(running):
            found[running[done]] = done.result()
            tick(f"losses of {running[done]}")
    return {name: found[name] for name in points}


def _start() -> None:
    import torch

    torch.set_num_threads(default_workers()[1])


def loss_difference(work: Work, loss: str, gate: Configuration, steps: int) -> float:
    """The largest difference of a step's loss between our layout and TRL's two rows, over `steps` steps of each.

    Losses that TRL has are compared with stock TRL where there is no gate, the others with our objective on TRL's own
    forward pass.
    """
    objective: Configuration = {**gate, "loss": loss}
    stock = TRLS.get(loss) if gate["gate"] == "none" else None
    if stock:
        theirs = Contestant(WITHOUT_CHECKPOINTING, work, loss_type=stock)
    else:
        theirs = Contestant(TWO_ROWS, work, **objective)
    ours = Contestant(OURS, work, **objective)
    return max(abs(theirs.step(number) - ours.step(number)) for number in range(steps))


def _weighed(work: Work, tick: Tick) -> dict[str, int]:
    found = {}
    for key in WEIGHED:
        tick(f"memory of {key}")
        found[key] = memory.of_a_step(key, work)
    return found
