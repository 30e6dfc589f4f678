"""What a claim of a suite says: written down before the run, judged after it (analysis/claims.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from gatebench.bench.metrics import registry
from gatebench.bench.metrics.dynamics import DYNAMICS
from gatebench.bench.metrics.geometry import GEOMETRY
from gatebench.bench.suite.strict import Strict
from gatebench.objectives.names import UnknownWord

BY_AXES = ("model", "dataset", "objective", "loss", "warmup")
CURVE_AXES = ("model", "dataset")  # what a curve is of
SPREADS = ("model", "dataset", "objective")
KIND, KIND_METRIC = "kind", "near_miss"  # what strata can say beside a metric's name, and the metric that tells it
Expectation = Literal["greater", "less"]


class Contrast(Strict):
    """Two sides to compare: two gates on the same cells, or the cells of two descriptions.

    gate: [ours, theirs]; theirs may be a list, which gives one contrast with each.
    cell: [ours, theirs], each an axis -> value mapping; ours may be a list, which gives one contrast of each.
    """

    gate: tuple[str, str | list[str]] | None = None
    cell: tuple[dict[str, object] | list[dict[str, object]], dict[str, object]] | None = None

    @model_validator(mode="after")
    def _one(self) -> Contrast:
        if (self.gate is None) == (self.cell is None):
            raise ValueError("give either gate: [OURS, THEIRS] or cell: [{...}, {...}]")
        if any(ours == theirs for ours, theirs in self.sides()):
            raise ValueError("a side is compared with itself; name two that differ")
        return self

    def sides(self) -> list[tuple[Mapping[str, object], Mapping[str, object]]]:
        """(ours, theirs) as axis -> value mappings, one pair a contrast."""
        if self.gate is None:
            mine, others = self.cell or ([], {})
            return [(one, others) for one in (mine if isinstance(mine, list) else [mine])]
        ours, theirs = self.gate
        return [({"gate": ours}, {"gate": other}) for other in ([theirs] if isinstance(theirs, str) else theirs)]


class Claim(Strict):
    """A pre-registered contrast.

    by: one contrast for every value of these axes. spread: compare how far the cells of this axis lie apart (their
    standard deviation) in place of their mean. effect: the size that is expected, for the power to have seen it.
    strata: one contrast on each third of the probes by a metric that is measured before training, as ches or
    edit_distance; with `kind` one on each kind of pair, where the data set marks them as builtin:toolbox does.
    at_equal: a side's cells are the points of one curve of the metric over this other one, as test_margin, and the
    curves are compared where both have it; each model and data set apart.
    """

    name: str
    metric: str
    contrast: Contrast
    by: list[str] = Field(default_factory=list)
    expect: Expectation
    spread: str | None = None
    effect: float | None = Field(default=None, gt=0)
    strata: str | None = None
    at_equal: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Claim:
        self._check_strata()
        self._check_curves()
        for axis, known in [*((axis, BY_AXES) for axis in self.by), *([(self.spread, SPREADS)] if self.spread else [])]:
            if axis not in known:
                raise UnknownWord("axis", axis, known)
            if any(axis in side for pair in self.contrast.sides() for side in pair):
                raise ValueError(f"{axis!r} is what the contrast compares, so it cannot stand in by or spread as well")
        return self

    @property
    def strata_metric(self) -> str | None:
        """The metric that the strata are told by."""
        return KIND_METRIC if self.strata == KIND else self.strata

    @property
    def apart(self) -> list[str]:
        """The axes for each of whose values there is a contrast."""
        return list(dict.fromkeys([*self.by, *(CURVE_AXES if self.at_equal else ())]))

    def _check_curves(self) -> None:
        if self.at_equal is None:
            return
        if registry.get_metric(self.at_equal).source == GEOMETRY:
            raise ValueError(f"at_equal: {self.at_equal} is measured before training and the same at every strength")
        if self.at_equal == self.metric:
            raise ValueError(f"at_equal: {self.metric} is what is compared; name another metric, as test_margin")
        if self.spread or self.strata:
            raise ValueError(
                f"at_equal compares curves, which {'spread' if self.spread else 'strata'} cannot; drop one"
            )

    def _check_strata(self) -> None:
        """A metric of probes by one that no training can have moved."""
        metric = registry.get_metric(self.metric)
        if self.strata is None:
            return
        known = [KIND, *(found.name for found in GEOMETRY.metrics())]
        if self.strata not in known:
            raise UnknownWord("strata", self.strata, known)
        if metric.source != DYNAMICS:
            raise ValueError(f"strata are parts of the probes, and {self.metric} is not measured on them")
