"""Loss names. A third party adds one through an entry point of the group `gatebench.losses`, whose
value is a `Loss`: one file in its own package, nothing here changes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from gatebench.objectives import (
    alpha_dpo,
    bdpo,
    beta_dpo,
    bpo,
    cal_dpo,
    cpo,
    dpo,
    dpo_shift,
    dpop,
    ipo,
    nll,
    orpo,
    r_dpo,
    sft,
    simpo,
    slic,
    trl_losses,
)
from gatebench.objectives.entry_points import with_third_parties
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.whole_batch import OfBatch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = TypeVar("P", bound="DataclassInstance")


@dataclass(frozen=True)
class Loss(Generic[P]):
    """A name, the function (pairs, parameters) -> [B], its frozen parameter class, and what to warn of.

    couples_pairs: whether a pair's number depends on what other pairs it is handed with, so that the cut of a batch
    into micro-batches and processes changes the loss. What is known of the effective batch (PairLogProbs.part_of) may
    be used all the same.
    of_batch: what it takes of the effective batch as a whole and of the steps before, see whole_batch.py.
    reference: whether it reads the reference's log-probs.
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
    of_batch: Callable[[PairLogProbs, P, Sequence[float], torch.Generator | None], OfBatch] | None = None

    def make_parameters(self, **values: object) -> P:
        """The frozen parameters; UnknownWord for a name the loss does not have."""
        known = [field.name for field in dataclasses.fields(self.parameters)]
        for name in values:
            if name not in known:
                raise UnknownWord(f"parameter of {self.name}", name, known)
        make: Callable[..., P] = self.parameters
        hints = get_type_hints(self.parameters)
        return make(**{name: _checked(f"{self.name}'s {name}", hints[name], value) for name, value in values.items()})


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
    words = get_args(kind)
    if words and get_origin(kind) is Literal and value not in words:
        raise UnknownWord(what, str(value), words)
    return value


AnyLoss: TypeAlias = Loss[Any]  # where several meet, each with parameters of its own
BUILT_IN: tuple[AnyLoss, ...] = (
    Loss("dpo", dpo.dpo, dpo.DPO),
    Loss("ipo", ipo.ipo, ipo.IPO, ipo.caution),
    Loss("cal_dpo", cal_dpo.cal_dpo, cal_dpo.CalDPO, cal_dpo.caution, torch.float64),
    Loss("dpo_shift", dpo_shift.dpo_shift, dpo_shift.DPOShift),
    Loss("dpop", dpop.dpop, dpop.DPOP),
    Loss("bdpo", bdpo.bdpo, bdpo.BDPO),
    Loss("bpo", bpo.bpo, bpo.BPO),
    Loss("r_dpo", r_dpo.r_dpo, r_dpo.RDPO),
    Loss("simpo", simpo.simpo, simpo.SimPO, reference=False),
    Loss("alpha_dpo", alpha_dpo.alpha_dpo, alpha_dpo.AlphaDPO, of_batch=alpha_dpo.of_batch),
    Loss("beta_dpo", beta_dpo.beta_dpo, beta_dpo.BetaDPO, of_batch=beta_dpo.of_batch),
    Loss("cpo", cpo.cpo, cpo.CPO, reference=False),
    Loss("orpo", orpo.orpo, orpo.ORPO, reference=False),
    Loss("slic", slic.slic, slic.SLiC, reference=False),
    Loss("nll", nll.nll, nll.NLL, reference=False),
    Loss("sft", sft.sft, sft.SFT, reference=False),
    *(
        Loss(
            f"trl:{name}", function, trl_losses.TRL, couples_pairs=name in trl_losses.COUPLING, reference=name != "sft"
        )
        for name, function in trl_losses.TYPES.items()
    ),
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


def coupling_caution(name: str, pairs_a_batch: int, pairs_at_once: int) -> str | None:
    """A sentence where a loss that couples pairs does not see the effective batch at once, else None."""
    if pairs_at_once >= pairs_a_batch or not get_loss(name).couples_pairs:
        return None
    return (
        f"loss {name} takes the pairs that it sees at once together, and sees {pairs_at_once} of a batch of "
        f"{pairs_a_batch}: its result is another than that of micro-batches of {pairs_a_batch}. Compare it only with "
        "trainings that were cut alike, or make room for the whole batch"
    )
