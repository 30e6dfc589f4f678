"""What a loss is: its function, its frozen parameters, and what is known of it before it trains anything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from gatebench.objectives.losses.whole_batch import OfBatch
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import PairLogProbs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = TypeVar("P", bound="DataclassInstance")


@dataclass(frozen=True)
class Loss(Generic[P]):
    """A name, the function (pairs, parameters) -> [B], its frozen parameter class, and what to warn of.

    couples_pairs: whether a pair's number depends on what other pairs it is handed with, so that the cut of a batch
    into micro-batches and processes changes the loss. What is known of the effective batch (PairLogProbs.part_of) may
    be used all the same.
    of_batch: what it takes of the effective batch as a whole and of the steps before, see losses/whole_batch.py.
    reference: whether it reads the reference's log-probs.
    warmed: whether the method begins with a warm-up.
    sums: in which the log-probs of a response are added up. TRL's is float32, whose rounding (6e-5 at 600 nats) a loss
    that squares sums multiplies by the distance to its target.
    """

    name: str
    function: Callable[[PairLogProbs, P], Tensor]
    parameters: type[P]
    caution: Callable[[P], str | None] = lambda parameters: None
    sums: torch.dtype = torch.float32
    couples_pairs: bool = False
    reference: bool = True
    warmed: bool = True
    of_batch: Callable[[PairLogProbs, P, Sequence[float], torch.Generator | None], OfBatch] | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """The names of its parameters, as make_parameters takes them."""
        return tuple(field.name for field in dataclasses.fields(self.parameters))

    def make_parameters(self, **values: object) -> P:
        """The frozen parameters; UnknownWord for a name the loss does not have."""
        for name in values:
            if name not in self.known:
                raise UnknownWord(f"parameter of {self.name}", name, self.known)
        make: Callable[..., P] = self.parameters
        hints = get_type_hints(self.parameters)
        return make(**{name: _checked(f"{self.name}'s {name}", hints[name], value) for name, value in values.items()})

    def values(self, parameters: P) -> dict[str, object]:
        """Parameters as make_parameters takes them."""
        return dataclasses.asdict(parameters)

    def beta(self, parameters: P) -> float | None:
        """What TRL's logged rewards are scaled with; None where the loss has none."""
        return getattr(parameters, "beta", None)


def _checked(what: str, kind: object, value: object) -> object:
    """A parameter of a loss, as its type has it; ValueError for another."""
    if kind is float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{what} {value!r} is no finite number")
        if what.endswith(" beta") and number <= 0:
            raise ValueError(f"{what} {value!r} has no meaning; write a number above 0")
        return number if isinstance(value, str) else value  # a whole number stays one, in keys too
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{what} {value!r} is neither true nor false")
    words = get_args(kind)
    if float in words:  # or None
        return None if value is None else _checked(what, float, value)
    if words and get_origin(kind) is Literal and value not in words:
        raise UnknownWord(what, str(value), words)
    return value


AnyLoss: TypeAlias = Loss[Any]  # where several meet, each with parameters of its own
