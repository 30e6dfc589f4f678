"""What of a cell is drawn at random, and by which seeds: the repetitions of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from gatebench.bench.suite.strict import ALTERNATIVE, Strict

Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]  # what every random generator takes
Listed = Annotated[list[Seed], Field(min_length=1)]


@dataclass(frozen=True)
class Drawn:
    """The seeds of one repetition. train: the order of the pairs, and an adapter's start; warmup: the same of the
    warm-up; base: a built-in model's first weights, and the order of its corpus; data: which pairs are trained on."""

    train: int = 0
    warmup: int = 0
    base: int = 0
    data: int = 0


VARIES = {
    "train": "the order of training", "warmup": "the warm-up", "base": "the base model", "data": "the training pairs",
}  # fmt: skip


class Seeds(Strict):
    """A list of seeds for each thing that is drawn, one a repetition, or a single one for all. See Drawn."""

    train: Listed = Field(default_factory=lambda: [0])
    warmup: Listed = Field(default_factory=lambda: [0])
    base: Listed = Field(default_factory=lambda: [0])
    data: Listed = Field(default_factory=lambda: [0])

    @model_validator(mode="after")
    def _alike(self) -> Seeds:
        counts = {name: len(getattr(self, name)) for name in VARIES if len(getattr(self, name)) > 1}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ValueError(f"the lists have one seed for all repetitions, or one for each; these differ: {told}")
        drawn = list(self.repetitions.values())
        if len(set(drawn)) < len(drawn):
            raise ValueError("two repetitions have the same seeds, so that they would be one")
        return self

    @property
    def repetitions(self) -> dict[int, Drawn]:
        """By their numbers, from 0."""
        count = max(len(getattr(self, name)) for name in VARIES)
        every = [{name: (own * count)[at] if len(own) == 1 else own[at] for name, own in self} for at in range(count)]
        return {at: Drawn(**seeds) for at, seeds in enumerate(every)}


def _form(value: object) -> str:
    return "table" if isinstance(value, dict | Seeds) else "list"


# [0, 1, 2] is the order of training and the warm-up; what a method is compared on stays the same
SeedAxis: TypeAlias = Annotated[
    Annotated[Listed, Tag(f"{ALTERNATIVE}list")] | Annotated[Seeds, Tag(f"{ALTERNATIVE}table")],
    Discriminator(lambda value: f"{ALTERNATIVE}{_form(value)}"),
]


def repetitions(seeds: Sequence[int] | Seeds) -> dict[int, Drawn]:
    """The repetitions of a suite by the value of its seed axis."""
    if isinstance(seeds, Seeds):
        return seeds.repetitions
    return {seed: Drawn(train=seed, warmup=seed) for seed in seeds}


def varied(drawn: Sequence[Drawn]) -> str:
    """What differs between repetitions, and what does not, as a sentence; "" for one alone."""
    if len(drawn) < 2:
        return ""
    several = {one.name for one in fields(Drawn) if len({getattr(each, one.name) for each in drawn}) > 1}
    moves, stays = ([text for name, text in VARIES.items() if (name in several) is wanted] for wanted in (True, False))
    rest = f"; {_listed(stays)} {'is' if len(stays) == 1 else 'are'} the same in all" if stays else ""
    return f"seeds vary {_listed(moves)}{rest}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
