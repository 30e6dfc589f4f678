"""The processes of one training: which of them this one is, and what they do together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

from gatebench.bench.stages.training.memory import with_smaller_batches

T = TypeVar("T")
# That others may take between two exchanges, while the first measures or saves. A dead one is noticed by its pipe.
LONGEST_SILENCE = timedelta(days=1)


@dataclass(frozen=True)
class Team:
    """size: processes; rank: this one's number; sharded: whether each holds a part of every weight (FSDP2), or the
    whole model; micro: pairs or rows that each takes at once, 0 where this process may find out itself."""

    size: int = 1
    rank: int = 0
    sharded: bool = False
    micro: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that measures, saves and tells."""
        return self.rank == 0

    def join(self, meeting: Path) -> None:
        """Meet the other processes. meeting: a file that is there for this team alone."""
        import torch

        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(self.rank)
        # by a file and not by a port, which would be open to the whole network
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo", init_method=meeting.as_uri(), rank=self.rank,
            world_size=self.size, timeout=LONGEST_SILENCE,
        )  # fmt: skip

    def leave(self) -> None:
        """After the last exchange: what the first process goes on with, it does alone."""
        if self.size > 1:
            import torch

            torch.distributed.destroy_process_group()

    def agreed(self, value: Callable[[], T]) -> T:
        """What the first process finds, told to all."""
        if self.size == 1:
            return value()
        import torch

        found: list[T | None] = [value() if self.leads else None]
        torch.distributed.broadcast_object_list(found)
        return cast("T", found[0])

    def wait(self) -> None:
        """Until all are here."""
        self.agreed(lambda: None)

    def fitted(self, micro: int, attempt: Callable[[int], T], clear: Callable[[], None]) -> tuple[T, int]:
        """`with_smaller_batches`; of several processes all have to start anew, so whoever started them tries."""
        return (attempt(self.micro), self.micro) if self.micro else with_smaller_batches(micro, attempt, clear)


ALONE = Team()
