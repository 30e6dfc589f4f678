"""What a judge's verdicts say, prompt by prompt, so that cells can be compared on the same prompts. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gatebench.bench.judges.api import OPPONENTS, TIE
from gatebench.bench.metrics.controlled import Numbers, controlled_wins, scaled, weighted_wins
from gatebench.bench.metrics.metric import SHARE, Source, Variant, metric
from gatebench.bench.metrics.style import style_differences

if TYPE_CHECKING:
    import pandas


OPPONENT_TITLES = {"warmup": "{} v. warm-up", "ungated": "{} v. ungated", "baseline": "{} v. baseline"}
MUCH = 3.0  # so many slight wins is one by far (Arena-Hard's show_result.py)


@dataclass(frozen=True)
class Verdicts:
    """A judge stage's rows against one opponent, by prompt: first and second (the cell's score in either order, from 0
    to 1, missing where the judge gave none), tokens and opponent_tokens; response and opponent_response, the texts,
    where they are at hand; difficulty of the question, where its file has it; first_much and second_much of a judge who
    says how much better an answer is.

    A comparison counts where both orders have a verdict: one alone would carry the judge's liking for a place.
    """

    rows: pandas.DataFrame

    @cached_property
    def win(self) -> pandas.Series[float]:
        """A win 1, a tie half, the mean of both orders; missing where either is."""
        return (self.rows["first"] + self.rows["second"]) / 2

    @property
    def graded(self) -> bool:
        return "first_much" in self.rows

    def weighed(self) -> tuple[Numbers, Numbers]:
        """(the share of wins, how much it counts) of every prompt, both orders together; by far counts as MUCH."""
        if not self.graded:
            return np.asarray(self.win, dtype=np.float64), np.full(len(self.rows), 2.0)
        weights = [np.where(self.rows[f"{order}_much"] == 1, MUCH, 1.0) for order in ("first", "second")]
        scores = [np.asarray(self.rows[order], dtype=np.float64) for order in ("first", "second")]
        total = weights[0] + weights[1]
        return (weights[0] * scores[0] + weights[1] * scores[1]) / total, total

    def of_judged(self, compute: Callable[[NDArray[np.bool_]], Numbers]) -> pandas.Series[float]:
        """What `compute` makes of the prompts that have a verdict, missing for the others."""
        import pandas

        given = self.win.notna().to_numpy()
        found = np.full(len(given), np.nan)
        if given.any():
            found[given] = compute(given)
        return pandas.Series(found, index=self.rows.index)


VERDICTS: Source[Verdicts] = Source(
    "judge", (("judge", Variant("judge_")),),
    tuple(Variant(f"vs_{opponent}_", OPPONENT_TITLES[opponent]) for opponent in OPPONENTS),
)  # fmt: skip


@metric(VERDICTS, title="wins", unit=SHARE, better="higher", headline=True)
def win_rate(verdicts: Verdicts) -> pandas.Series[float]:
    return verdicts.win


@metric(VERDICTS, title="wins at equal length", unit=SHARE, better="higher", reported=True)
def win_rate_lc(verdicts: Verdicts) -> pandas.Series[float] | None:
    import pandas

    longer = np.asarray(verdicts.rows["tokens"] - verdicts.rows["opponent_tokens"], dtype=np.float64)
    if np.isnan(longer).all():  # a file's answers come without tokens
        return None
    wins = np.asarray(verdicts.win, dtype=np.float64)
    return pandas.Series(at_equal_length(wins, longer), index=verdicts.rows.index)


@metric(VERDICTS, title="wins at equal length, AlpacaEval's curve", unit=SHARE, better="higher", reported=True)
def win_rate_glm(verdicts: Verdicts) -> pandas.Series[float] | None:
    """AlpacaEval 2's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475, and its glm_winrate.py): a
    logistic curve over tanh of the difference in characters, scaled, and over the question's difficulty where that is
    known, read where the lengths are equal.

    Theirs is also pulled towards two gamed baselines of its own question set by L1, which no other set has."""
    rows = verdicts.rows
    if "response" not in rows:
        return None
    lengths = [np.asarray(rows[name].str.len(), dtype=np.float64) for name in ("response", "opponent_response")]
    longer: Numbers = np.tanh(scaled((lengths[0] - lengths[1])[:, None]))
    constant = np.ones((len(rows), 1))
    kept = np.hstack([rows[["difficulty"]].to_numpy(), constant]) if "difficulty" in rows else constant
    wins = np.asarray(verdicts.win, dtype=np.float64)
    return verdicts.of_judged(
        lambda given: controlled_wins(wins[given], np.ones(given.sum()), longer[given], kept[given])
    )


@metric(VERDICTS, title="Arena-Hard score", unit=SHARE, better="higher", reported=True)
def arena_score(verdicts: Verdicts) -> pandas.Series[float] | None:
    """The share of wins, a win by far counted as three slight ones (Li et al. 2024, arXiv 2406.11939)."""
    if not verdicts.graded:
        return None
    wins, weights = verdicts.weighed()
    return verdicts.of_judged(lambda given: weighted_wins(wins[given], weights[given]))


@metric(VERDICTS, title="wins at equal style", unit=SHARE, better="higher", reported=True)
def win_rate_style(verdicts: Verdicts) -> pandas.Series[float] | None:
    """Arena-Hard's score with style control: a Bradley-Terry curve over the differences of length, headers, lists and
    bold text, read where there are none. Theirs is read at the mean difference of all models it is fitted on."""
    if "response" not in verdicts.rows:
        return None
    wins, weights = verdicts.weighed()
    texts = (verdicts.rows[name].tolist() for name in ("response", "opponent_response"))
    styles = style_differences(*texts)
    return verdicts.of_judged(
        lambda given: controlled_wins(wins[given], weights[given], scaled(styles[given]), np.ones((given.sum(), 1)))
    )


@metric(VERDICTS, title="ties", unit=SHARE, reported=True)
def tie(verdicts: Verdicts) -> pandas.Series[float]:
    return (verdicts.win == TIE).astype(float).where(verdicts.win.notna())


@metric(VERDICTS, title="turned by the order", unit=SHARE, better="lower", reported=True)
def inconsistent(verdicts: Verdicts) -> pandas.Series[float]:
    """Another answer is preferred, or none, than in the first order."""
    first, second = (np.sign(verdicts.rows[order] - TIE) for order in ("first", "second"))
    turned: pandas.Series[float] = (first != second).astype(float)
    return turned.where(verdicts.win.notna())


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
