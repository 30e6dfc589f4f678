"""Meeting a full memory with smaller micro-batches, the effective batch unchanged."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

from gatebench.bench.errors import StageFailed
from gatebench.objectives.causal_lm import is_out_of_memory

T = TypeVar("T")


def with_smaller_batches(micro: int, attempt: Callable[[int], T], clear: Callable[[], None]) -> tuple[T, int]:
    """attempt(micro), halving micro while memory does not suffice; the result and the micro-batch that fitted.

    clear: called before each further attempt, to drop what the failed one left. Raises StageFailed where a
    micro-batch of 1 does not fit either.
    """
    while True:
        try:
            return attempt(micro), micro
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if micro == 1:
                raise StageFailed("out of memory with a micro-batch of 1; try a smaller max_length or model") from None
            reason = str(error).splitlines()[0]
        # outside the except block: the failed attempt's tensors hang on the error's traceback
        micro = next(size for size in range(micro // 2, 0, -1) if micro % size == 0)
        print(f"out of memory ({reason}); again with a micro-batch of {micro}")
        clear()
        gc.collect()
        _empty_device_cache()


def _empty_device_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
