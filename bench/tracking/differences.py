"""What the stages of a plan are set to: where they differ, which tells cells apart, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gatebench.bench import keys
from gatebench.bench.plan.graph import Node, Plan


@dataclass(frozen=True)
class Differences:
    """Of a plan's stages, by dotted place: those that differ between stages of a kind, and what all of a kind share."""

    differing: frozenset[str]
    shared: Mapping[str, keys.Json]


@lru_cache(maxsize=1)  # a plan is compared by identity
def setting_differences(plan: Plan) -> Differences:
    """A place that only some stages of a kind have differs too."""
    by_kind = dict[str, list[dict[str, keys.Json]]]()
    for node in plan.nodes.values():
        by_kind.setdefault(node.kind, []).append(stage_settings(node))
    shared = dict[str, keys.Json]()
    differing = set[str]()
    for found in by_kind.values():
        first = found[0]
        alike = {place for place, value in first.items() if all(place in own and own[place] == value for own in found)}
        shared |= {place: first[place] for place in alike}
        differing |= {place for own in found for place in own} - alike
    return Differences(frozenset(differing), shared)


def stage_settings(node: Node) -> dict[str, keys.Json]:
    """A stage's settings by dotted place, a training's without a prefix, any other's behind its kind."""
    return _flat(keys.canonical(node.spec), "" if node.kind == "train" else f"{node.kind}.")


def _flat(value: keys.Json, prefix: str) -> dict[str, keys.Json]:
    """The values that are not None by their dotted place; prefix: what the places start with, its dot included."""
    if not isinstance(value, Mapping):
        return {} if value is None else {prefix.removesuffix("."): value}
    return {place: leaf for key, inner in value.items() for place, leaf in _flat(inner, f"{prefix}{key}.").items()}
