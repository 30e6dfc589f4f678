"""What a judge's verdicts say, prompt by prompt, so that cells can be compared on the same prompts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatebench.bench.judges.api import OPPONENTS

if TYPE_CHECKING:
    import pandas

    from gatebench.bench.analysis.statistics import Array

PREFIX = "judge_"
# win_rate: a win 1, a tie half, the mean of both orders; win_rate_lc: at equal length; tie: share of ties;
# inconsistent: share of verdicts that turn with the order; missing: share of comparisons without a verdict.
METRICS = ("win_rate", "win_rate_lc", "tie", "inconsistent", "missing")
NAMES = tuple(f"{PREFIX}vs_{opponent}_{metric}" for opponent in OPPONENTS for metric in METRICS)


def per_prompt(frame: pandas.DataFrame) -> pandas.DataFrame:
    """A judge stage's table -> METRICS by prompt, before each vs_ and the opponent; missing where a verdict is.

    A comparison counts where both orders have a verdict: one alone would carry the judge's liking for a place.
    """
    import pandas

    found = []
    for opponent, rows in frame.groupby("opponent"):
        own = rows.set_index("prompt")
        win = (own["first"] + own["second"]) / 2  # missing where either is
        given = win.notna()
        longer = (own["tokens"] - own["opponent_tokens"]).to_numpy(dtype=float)
        columns = {
            "win_rate": win, "win_rate_lc": at_equal_length(win.to_numpy(dtype=float), longer),
            "tie": (win == 0.5).astype(float).where(given),
            "inconsistent": (own["first"] != own["second"]).astype(float).where(given),
            "missing": (~given).astype(float),
        }  # fmt: skip
        found.append(pandas.DataFrame(columns, index=own.index).add_prefix(f"vs_{opponent}_"))
    return pandas.concat(found, axis=1)


def at_equal_length(wins: Array, longer: Array) -> Array:
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
