"""How far a policy's confidence in its next token lies from how often it is right. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas

BINS = 15  # of equal width, as in Guo et al. 2017
GAPS = tuple(f"gap_{number}" for number in range(1, BINS + 1))


def error_by_prompt(rows: pandas.DataFrame) -> pandas.Series[float]:
    """Values by (split, prompt) whose mean over a split is its expected calibration error (Guo et al. 2017, eq. 3).

    rows: GAPS, sums over a prompt's tokens of confidence minus right by bin of confidence, and their number, tokens.

    The error is a sum over bins of |gap| over all tokens, which no prompt has by itself. A prompt's value is the error
    plus what the prompt moves it by to first order, so that resampling prompts gives its interval as of any mean. Where
    a bin's true gap is next to nothing its absolute value is too large on average, and the error with it.
    """
    by_split = rows.groupby("split")
    total, prompts = by_split["tokens"].transform("sum"), by_split["tokens"].transform("count")
    signs = np.sign(by_split[list(GAPS)].transform("sum"))
    own = (signs * rows[list(GAPS)]).sum(axis=1)
    error = own.groupby("split").transform("sum") / total
    found: pandas.Series[float] = error + (own - error * rows["tokens"]) * prompts / total
    return found
