"""Each effective batch shared out evenly over processes: every step takes the pairs that it takes on one device.

A sampler that deals whole batches in turn, as accelerate's does, would begin an epoch's last batch anew with pairs that
were seen before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from gatebench.bench.errors import StageFailed

if TYPE_CHECKING:
    from transformers import Trainer

    from gatebench.bench.stages.training.team import Team

TrainerKind = TypeVar("TrainerKind", bound="type[Trainer]")


def uneven(rows: int, batch_size: int, steps: int | None, devices: int) -> str | None:
    """Why the last batch of an epoch cannot be shared out evenly, if it comes to that. steps: of the optimizer, None
    where whole epochs are trained."""
    over = rows % devices
    if not over or (steps is not None and steps * batch_size <= rows):
        return None
    return (
        f"{rows} rows cannot be shared out evenly over {devices} devices at the end of an epoch, {over} would be left: "
        "give the data set fewer rows with its `train`, or another number of devices"
    )


def check_even(rows: int, batch_size: int, steps: int | None, devices: int) -> None:
    """Raise StageFailed for what is uneven."""
    if sentence := uneven(rows, batch_size, steps, devices):
        raise StageFailed(sentence)


class Dealt:
    """A batch sampler of parts of effective batches, one a process in turn, which accelerate hands to the processes.

    It has no batch_size: parts of an epoch's last batch are smaller.
    """

    drop_last = False

    def __init__(self, sampler: Iterable[int], rows: int, batch_size: int, team: Team) -> None:
        self.sampler = sampler  # accelerate puts its own in its place
        self.rows, self.batch_size_of_all, self.team = rows, batch_size, team

    def __len__(self) -> int:
        whole, rest = divmod(self.rows, self.batch_size_of_all)
        return whole * len(self._cuts(self.batch_size_of_all)) + len(self._cuts(rest))

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for place in self.sampler:
            batch.append(place)
            if len(batch) == self.batch_size_of_all:
                yield from self._parts(batch)
                batch = []
        yield from self._parts(batch)

    def _parts(self, batch: Sequence[int]) -> Iterator[list[int]]:
        start = 0
        for size in self._cuts(len(batch)):
            yield list(batch[start : start + size])
            start += size

    def _cuts(self, pairs: int) -> list[int]:
        """Sizes of the parts of a batch: in each turn alike for all processes, none above their micro-batch."""
        own, turns = pairs // self.team.size, -(-pairs // (self.team.size * self.team.micro))
        sizes = [own // turns + (turn < own % turns) for turn in range(turns)]
        return [size for size in sizes for _ in range(self.team.size)]


def dealing(kind: TrainerKind, batch_size: int, team: Team) -> TrainerKind:
    """A class of trainers that shares its batches out so; `kind` itself on one device."""
    if team.size == 1:
        return kind

    def get_train_dataloader(self: Trainer) -> object:
        from datasets import Dataset
        from torch.utils.data import DataLoader

        rows = self.train_dataset
        if isinstance(rows, Dataset):
            rows = self._remove_unused_columns(rows, "training")
        sampler = Dealt(self._get_train_sampler(rows), len(rows), batch_size, team)
        self.accelerator.dataloader_config.even_batches = False  # they are
        return self.accelerator.prepare(DataLoader(rows, batch_sampler=sampler, collate_fn=self.data_collator))

    made: TrainerKind = type(kind.__name__, (kind,), {"get_train_dataloader": get_train_dataloader})  # type: ignore[assignment]
    return made
