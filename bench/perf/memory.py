"""What a training step needs of memory beyond what stays: weights, gradients and the optimizer's state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.perf.trainers import Contestant, Work


def of_a_step(contestant: str, work: Work) -> int:
    """Bytes at the peak of a step above those before it, in a process of its own. Raises UserError if that ends ill."""
    command = [sys.executable, "-m", __name__, contestant, str(work.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode > 0 else "its process was killed"
        raise UserError(f"the memory of a step of {contestant} could not be measured: {why}")
    found: int = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(contestant: Contestant) -> int:
    import gc

    import torch

    contestant.step(0)  # makes the optimizer's state
    gc.collect()
    if not torch.cuda.is_available():
        return _peak_on_the_processor(contestant)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    contestant.step(1)
    return torch.cuda.max_memory_allocated() - before


def _peak_on_the_processor(contestant: Contestant) -> int:
    """Largest sum of live tensors, by the allocations that torch's profiler saw: resident memory would also count
    what the C library keeps for itself."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        contestant.step(1)
    live = peak = 0
    for event in sorted((e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"),
                        key=lambda e: e.start_ns()):  # fmt: skip
        live += event.nbytes()
        peak = max(peak, live)
    return peak


if __name__ == "__main__":
    print(json.dumps(_measured(Contestant(sys.argv[1], Work(Path(sys.argv[2]))))))
