"""What a metric is: one decorated function, and with it all that tables, claims, searches and reports ask of it.

    @metric(DYNAMICS, title="margin", unit=NATS, better="higher", headline=True, tunable=True)
    def margin(probes: Probes) -> Series: ...

A function gets the values that its source measured and gives one number a prompt, or None where the data have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import pandas

Values = TypeVar("Values")  # what a source hands to its metrics
Compute = Callable[[Values], "pandas.Series[float] | None"]
Function = TypeVar("Function", bound=Callable[..., "pandas.Series[float] | None"])
NATS, NATS_A_TOKEN, SHARE, TOKENS = "nats a response", "nats a token", "share", "tokens"


@dataclass(frozen=True)
class Variant:
    """One of several ways in which a source gives the same metrics. prefix: before the name of a metric; words: how its
    title is said; leads: whether headline metrics are shown in this way."""

    prefix: str = ""
    words: str = "{}"
    leads: bool = True

    def __post_init__(self) -> None:
        if "{}" not in self.words:
            raise ValueError(f"the words of variant {self.prefix!r} need {{}}, where the metric's title goes")


@dataclass(frozen=True)
class Source(Generic[Values]):
    """A stage whose results metrics are made of. splits: of its table by prompt, each a variant."""

    stage: str
    splits: tuple[tuple[str, Variant], ...]
    variants: tuple[Variant, ...] = (Variant(),)

    def metrics(self) -> tuple[Metric[Values], ...]:
        """Those of this source, in the order in which they were written down."""
        return tuple(found for found in REGISTERED.values() if found.source == self)

    def table(self, measured: Values) -> pandas.DataFrame:
        """Every metric of this source that the data have, a column each, a row a prompt."""
        import pandas

        found = {metric.name: metric.compute(measured) for metric in self.metrics()}
        return pandas.concat({name: column for name, column in found.items() if column is not None}, axis=1)


@dataclass(frozen=True)
class Metric(Generic[Values]):
    """better: which way is an improvement, where one is; headline: a column of every table of results; held_out: one
    more of it for held-out prompts; reported: of the report; tunable: a search can be asked for it; published: figures
    of papers have it; drawn: as a curve through training; needs: a key of its stage's block in a suite and the least
    that stands there, without which it is not measured; graded: only of data whose answers are graded exactly."""

    name: str
    title: str
    unit: str
    source: Source[Values]
    compute: Compute[Values]
    better: Literal["higher", "lower"] | None = None
    headline: bool = False
    held_out: bool = False
    reported: bool = False
    tunable: bool = False
    published: bool = False
    drawn: bool = False
    needs: tuple[str, int] | None = None
    graded: bool = False


AnyMetric = Metric[Any]  # of whichever source
REGISTERED: dict[tuple[str, str], AnyMetric] = {}  # by stage and name
SPLIT_PREFIXES: dict[str, str] = {}  # split of a table by prompt -> what stands before the names of its metrics


def register(new: AnyMetric) -> None:
    """Raises ValueError for a name that the source has already, and for a split that is another source's."""
    place = (new.source.stage, new.name)
    if place in REGISTERED:
        raise ValueError(f"metric {new.name!r} of {new.source.stage} stands twice")
    prefixes = {split: variant.prefix for split, variant in new.source.splits}
    taken = [split for split, prefix in prefixes.items() if SPLIT_PREFIXES.get(split, prefix) != prefix]
    if taken:
        raise ValueError(f"metric {new.name!r}: split {taken[0]!r} is another source's; give yours its own")
    REGISTERED[place] = new
    SPLIT_PREFIXES.update(prefixes)


def metric(
    source: Source[Values],
    *,
    title: str,
    unit: str,
    better: Literal["higher", "lower"] | None = None,
    headline: bool = False,
    held_out: bool = False,
    reported: bool = False,
    tunable: bool = False,
    published: bool = False,
    drawn: bool = False,
    needs: tuple[str, int] | None = None,
    graded: bool = False,
) -> Callable[[Function], Function]:
    """Make a metric of a function; its name is the function's."""

    def decorate(compute: Function) -> Function:
        register(Metric(compute.__name__, title, unit, source, compute, better, headline, held_out,
                        reported or headline, tunable, published, drawn, needs, graded))  # fmt: skip
        return compute

    return decorate
