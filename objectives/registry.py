"""Loss names. A third party adds one through an entry point of the group `gatebench.losses`, whose
value is a `Loss`: one file in its own package, nothing here changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from gatebench.objectives import cal_dpo, dpo, dpo_shift, ipo, sft, trl_losses
from gatebench.objectives.entry_points import with_third_parties
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import PairLogProbs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = TypeVar("P", bound="DataclassInstance")


@dataclass(frozen=True)
class Loss(Generic[P]):
    """A name, the function (pairs, parameters) -> [B], its frozen parameter class, and what to warn of.

    sums: in which the log-probs of a response are added up. TRL's is float32, whose rounding (6e-5 at 600 nats) a loss
    that squares sums multiplies by the distance to its target.
    """

    name: str
    function: Callable[[PairLogProbs, P], Tensor]
    parameters: type[P]
    caution: Callable[[P], str | None] = lambda parameters: None
    sums: torch.dtype = torch.float32

    def make_parameters(self, **values: object) -> P:
        """The frozen parameters; UnknownWord for a name the loss does not have."""
        known = [field.name for field in dataclasses.fields(self.parameters)]
        for name in values:
            if name not in known:
                raise UnknownWord(f"parameter of {self.name}", name, known)
        make: Callable[..., P] = self.parameters
        return make(**values)


AnyLoss: TypeAlias = Loss[Any]  # where several meet, each with parameters of its own
BUILT_IN: tuple[AnyLoss, ...] = (
    Loss("dpo", dpo.dpo, dpo.DPO),
    Loss("ipo", ipo.ipo, ipo.IPO, ipo.caution),
    Loss("cal_dpo", cal_dpo.cal_dpo, cal_dpo.CalDPO, cal_dpo.caution, torch.float64),
    Loss("dpo_shift", dpo_shift.dpo_shift, dpo_shift.DPOShift),
    Loss("sft", sft.sft, sft.SFT),
    *(Loss(f"trl:{name}", function, trl_losses.TRL) for name, function in trl_losses.TYPES.items()),
)


@cache
def losses() -> dict[str, AnyLoss]:
    """Every loss by name; ValueError when a third party takes a name that is ours."""
    return with_third_parties("gatebench.losses", {loss.name: loss for loss in BUILT_IN})


def get_loss(name: str) -> AnyLoss:
    """The loss of that name; UnknownWord with the nearest one otherwise."""
    if name not in losses():
        raise UnknownWord("loss", name, losses())
    return losses()[name]
