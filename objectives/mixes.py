"""Weighted mixes of losses, which are losses too: `dpo+0.2*nll` is DPO plus 0.2 of the likelihood a token.

A mix is written as a mapping of names to weights and has one canonical name, in the order in which it was written. It
is named by that name alone: whoever has it has the mix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gatebench.objectives.loss import AnyLoss, Loss
from gatebench.objectives.losses.whole_batch import OfBatch
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import PairLogProbs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Mixed:
    """The parameters of each part of a mix, in its order."""

    parts: tuple[DataclassInstance, ...]


@dataclass(frozen=True)
class Mix(Loss[Mixed]):
    """of: name of a part -> its weight and the loss.

    A parameter is given once for all parts that have it, or under a part's name for it alone, which goes before:
    {beta: 0.1} or {dpo: {beta: 0.1}}.
    """

    of: Mapping[str, tuple[float, AnyLoss]] = field(default_factory=dict)

    @property
    def known(self) -> tuple[str, ...]:
        shared = (name for _, part in self.of.values() for name in part.known)
        return tuple(dict.fromkeys([*shared, *self.of]))

    def make_parameters(self, **values: object) -> Mixed:
        for name in values:
            if name not in self.known:
                raise UnknownWord(f"parameter of {self.name}", name, self.known)
        made = []
        for name, (_, part) in self.of.items():
            own = values.get(name, {})
            if not isinstance(own, Mapping):
                raise ValueError(f"{self.name}'s {name} {own!r} are no parameters; write them as {{beta: 0.1}}")
            shared = {key: value for key, value in values.items() if key in part.known and key not in self.of}
            made.append(part.make_parameters(**shared | dict(own)))
        for own_parameters in made:
            if getattr(own_parameters, "use_weighting", False) or getattr(own_parameters, "ld_alpha", None) is not None:
                raise ValueError(
                    f"loss {self.name}: use_weighting and ld_alpha change what all parts of a mix read; give them to a "
                    "loss alone, or to TRL's own trainer with its loss_type"
                )
        return Mixed(tuple(made))

    def values(self, parameters: Mixed) -> dict[str, object]:
        return {
            name: part.values(own) for (name, (_, part)), own in zip(self.of.items(), parameters.parts, strict=True)
        }

    def beta(self, parameters: Mixed) -> float | None:
        """That of the first part that has one."""
        found = (part.beta(own) for (_, part), own in zip(self.of.values(), parameters.parts, strict=True))
        return next((beta for beta in found if beta is not None), None)


def mix(of: Mapping[str, tuple[float, AnyLoss]]) -> Mix:
    """The loss that is the weighted sum of others. Raises ValueError where several take something of the batch."""
    name = name_of({part: weight for part, (weight, _) in of.items()})
    parts = [loss for _, loss in of.values()]
    whole = [(place, loss.of_batch) for place, loss in enumerate(parts) if loss.of_batch is not None]
    if len(whole) > 1:
        names = " and ".join(parts[place].name for place, _ in whole)
        raise ValueError(f"loss {name}: {names} each take something of the whole batch; a mix has room for one such")

    def function(pairs: PairLogProbs, parameters: Mixed) -> Tensor:
        terms = [
            weight * loss.function(pairs, own)
            for (weight, loss), own in zip(of.values(), parameters.parts, strict=True)
        ]
        return torch.stack(terms).sum(dim=0)

    def caution(parameters: Mixed) -> str | None:
        found = (loss.caution(own) for loss, own in zip(parts, parameters.parts, strict=True))
        return " ".join(sentence for sentence in found if sentence) or None

    def of_batch(
        pairs: PairLogProbs, parameters: Mixed, kept: Sequence[float], generator: torch.Generator | None = None
    ) -> OfBatch:
        ((place, taken),) = whole
        return taken(pairs, parameters.parts[place], kept, generator)

    return Mix(
        name, function, Mixed, caution,
        sums=torch.float64 if any(loss.sums == torch.float64 for loss in parts) else torch.float32,
        couples_pairs=any(loss.couples_pairs for loss in parts),
        reference=any(loss.reference for loss in parts),
        warmed=any(loss.warmed for loss in parts),
        of_batch=of_batch if whole else None,
        of=dict(of),
    )  # fmt: skip


def is_mix(name: str) -> bool:
    """Whether a loss's name is that of a mix."""
    return "+" in name or "*" in name


def name_of(weights: Mapping[str, object]) -> str:
    """{dpo: 1, nll: 0.2} -> "dpo+0.2*nll"; a single loss of weight 1 is itself.

    Raises ValueError for an empty mapping, and for a weight that is no number from 0 up, or where all are 0.
    """
    for part, weight in weights.items():
        if not isinstance(part, str) or is_mix(part):
            raise ValueError(f"loss: {part!r} cannot be a part of a mix; write each loss by its own name")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ValueError(f"loss: the weight {weight!r} of {part} is no number from 0 up")
    if not any(weights.values()):
        raise ValueError("loss: a mix needs a part with a weight above 0, as in {dpo: 1, nll: 0.2}")
    terms = [(part, f"{weight:.12g}".replace("e+", "e")) for part, weight in weights.items()]
    return "+".join(f"{part}" if weight == "1" else f"{weight}*{part}" for part, weight in terms)


def weights_of(name: str) -> dict[str, float]:
    """The inverse of name_of. Raises ValueError for what writes no mix, and for a part that stands twice."""
    found: dict[str, float] = {}
    for term in name.split("+"):
        weight, star, part = term.rpartition("*")
        try:
            number = float(weight) if star else 1.0
        except ValueError:
            number = math.nan
        part = part.strip()
        if not part or not math.isfinite(number):
            raise ValueError(f"loss {name!r} writes no mix; write it as dpo+0.2*nll, or {{dpo: 1, nll: 0.2}}")
        if part in found:
            raise ValueError(f"loss {name!r}: {part} stands twice; add its weights up")
        found[part] = number
    return found
