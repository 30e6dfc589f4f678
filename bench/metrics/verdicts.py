"""What a judge's verdicts say, prompt by prompt, so that cells can be compared on the same prompts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gatebench.bench.judges.api import OPPONENTS
from gatebench.bench.metrics.metric import SHARE, Source, Variant, metric

if TYPE_CHECKING:
    import pandas


OPPONENT_TITLES = {"warmup": "{} v. warm-up", "ungated": "{} v. ungated"}


@dataclass(frozen=True)
class Verdicts:
    """A judge stage's rows against one opponent, by prompt: first and second (the cell's score in either order, missing
    where the judge gave none), tokens and opponent_tokens.

    A comparison counts where both orders have a verdict: one alone would carry the judge's liking for a place.
    """

    rows: pandas.DataFrame

    @cached_property
    def win(self) -> pandas.Series[float]:
        """A win 1, a tie half, the mean of both orders; missing where either is."""
        return (self.rows["first"] + self.rows["second"]) / 2


VERDICTS: Source[Verdicts] = Source(
    "judge", (("judge", Variant("judge_")),),
    tuple(Variant(f"vs_{opponent}_", OPPONENT_TITLES[opponent]) for opponent in OPPONENTS),
)  # fmt: skip


@metric(VERDICTS, title="wins", unit=SHARE, better="higher", headline=True)
def win_rate(verdicts: Verdicts) -> pandas.Series[float]:
    return verdicts.win


@metric(VERDICTS, title="wins at equal length", unit=SHARE, better="higher", reported=True)
def win_rate_lc(verdicts: Verdicts) -> pandas.Series[float]:
    import pandas

    longer = np.asarray(verdicts.rows["tokens"] - verdicts.rows["opponent_tokens"], dtype=np.float64)
    wins = np.asarray(verdicts.win, dtype=np.float64)
    return pandas.Series(at_equal_length(wins, longer), index=verdicts.rows.index)


@metric(VERDICTS, title="ties", unit=SHARE, reported=True)
def tie(verdicts: Verdicts) -> pandas.Series[float]:
    return (verdicts.win == 0.5).astype(float).where(verdicts.win.notna())


@metric(VERDICTS, title="turned by the order", unit=SHARE, better="lower", reported=True)
def inconsistent(verdicts: Verdicts) -> pandas.Series[float]:
    rows = verdicts.rows
    return (rows["first"] != rows["second"]).astype(float).where(verdicts.win.notna())


@metric(VERDICTS, title="reward", unit="as the reward model has it", better="higher", reported=True)
def reward(verdicts: Verdicts) -> pandas.Series[float] | None:
    """The number that the answer has by itself; only of a judge that gives such."""
    return verdicts.rows["reward"].astype(float) if "reward" in verdicts.rows else None


@metric(VERDICTS, title="reward gained", unit="as the reward model has it", better="higher", reported=True)
def reward_gain(verdicts: Verdicts) -> pandas.Series[float] | None:
    """Above that of the opponent's answer."""
    own = reward(verdicts)
    return None if own is None else own - verdicts.rows["opponent_reward"]


@metric(VERDICTS, title="without a verdict", unit=SHARE, better="lower", reported=True)
def missing(verdicts: Verdicts) -> pandas.Series[float]:
    return verdicts.win.isna().astype(float)


def verdict_metrics(frame: pandas.DataFrame) -> pandas.DataFrame:
    """A judge stage's table -> the metrics of VERDICTS by prompt, before each vs_ and the opponent."""
    import pandas

    found = [
        VERDICTS.table(Verdicts(rows.set_index("prompt"))).add_prefix(f"vs_{opponent}_")
        for opponent, rows in frame.groupby("opponent")
    ]
    return pandas.concat(found, axis=1)


def at_equal_length(wins: NDArray[np.float64], longer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wins with what the difference of lengths predicts taken away, so that their mean is the win rate of answers of
    equal length: the intercept of the least-squares line of wins over `longer` (tokens). Missing stays missing.

    The idea of AlpacaEval's length control (Dubois et al. 2024, eq. 2), with a line for their logistic curve, so that
    it stays a mean over prompts and has the same intervals as every other metric.
    """
    given = ~np.isnan(wins)
    centred = longer - longer[given].mean() if given.any() else longer
    spread = float((centred[given] ** 2).sum())
    if spread == 0:
        return wins
    slope = float((centred[given] * (wins[given] - wins[given].mean())).sum()) / spread
    return wins - slope * longer
