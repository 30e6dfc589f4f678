"""Where the time of our training step goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gatebench.bench.perf.trainers import Contestant

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::addmm_", "aten::matmul", "aten::linear")
STEPS_PROFILED = 5
Breakdown = Mapping[str, float]  # seconds a step by part


def breakdown(contestant: Contestant, seconds: float) -> Breakdown:
    """Seconds a step in matrix products, attention, head (products with the vocabulary), optimizer, other operations,
    and outside any operation (Python, dispatch, data).

    seconds: of a step; each part gets its share of a step under torch's profiler, whose own time counts as Python's.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    vocabulary = contestant.trainer.model.config.vocab_size
    parts = dict.fromkeys(("matrix products", "attention", "head", "optimizer", "other operations"), 0.0)
    with profile(activities=activities, record_shapes=True) as profiler:
        started = time.perf_counter()
        for number in range(STEPS_PROFILED):
            contestant.step(number)
        wall = time.perf_counter() - started
    for event in profiler.key_averages(group_by_input_shape=True):
        if not event.key.startswith("aten::"):
            continue
        if "scaled_dot_product" in event.key:
            part = "attention"
        elif "adamw" in event.key:
            part = "optimizer"
        elif event.key in PRODUCTS:
            part = "head" if any(vocabulary in shape for shape in event.input_shapes) else "matrix products"
        else:
            part = "other operations"
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total  # microseconds
        parts[part] += spent / 1e6 / wall * seconds
    return {**parts, "Python": seconds - sum(parts.values())}
