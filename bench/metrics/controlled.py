"""Win rates that a fitted logistic curve says for answers of equal length, or of equal style. Pure.

A curve is fitted over all prompts, and yet every prompt gets a number of its own, so that the rate is a mean over
prompts like every other metric, is paired over cells like them and has their intervals: the prompt's own prediction,
and by how much the prompt moves the fit (its influence; Hampel 1974, and the infinitesimal jackknife of Jaeckel 1972).
The mean of these numbers is the fitted rate itself, their spread its standard error with the fit's own part in it,
which the spread of the predictions alone leaves out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
# Of sklearn's ridge, the inverse: too weak to be seen in ten prompts, and a rate that is 0 or 1 stays a finite curve.
# AlpacaEval's own C where it does not choose one by cross-validation (glm_winrate.py).
INVERSE_RIDGE = 100.0


def controlled_wins(wins: Numbers, weights: Numbers, held: Numbers, kept: Numbers) -> Numbers:
    """A number a prompt, whose mean is the rate of wins where what is held equal does not differ. [N] Missing for all
    where that cannot be told: where it differs always, and always alike.

    wins: [N] of 0 to 1, fractions too; weights: [N] how much each counts in the fit and in the mean; held: [N, H] what
    is set to 0 for the rate; kept: [N, K] what stays as it is, the constant among it
    """
    if not _can_be_told(held):
        return np.full(len(wins), np.nan)
    features = np.hstack([held, kept])
    coefficients = _fitted(features, wins, weights)
    at_zero = np.hstack([np.zeros_like(held), kept])
    rates, fitted = _curve(at_zero @ coefficients), _curve(features @ coefficients)
    information = (features * (weights * fitted * (1 - fitted))[:, None]).T @ features
    information += np.eye(features.shape[1]) / INVERSE_RIDGE
    slope = at_zero.T @ (weights * rates * (1 - rates)) / weights.sum()
    scores = features * (weights * (wins - fitted))[:, None]
    influence: Numbers = len(wins) * (scores @ np.linalg.solve(information, slope))
    mean = float(weights @ rates / weights.sum())
    found: Numbers = mean + (rates - mean) * weights / weights.mean() + influence - influence.mean()
    return found


def weighted_wins(wins: Numbers, weights: Numbers) -> Numbers:
    """A number a prompt, whose mean is the weighted mean of wins, with the spread that a ratio of two means has. [N]"""
    mean = float(weights @ wins / weights.sum())
    found: Numbers = mean + (wins - mean) * weights / weights.mean()
    return found


def _can_be_told(held: Numbers) -> bool:
    """Whether prompts differ enough in what is held equal for the data, and not the ridge, to say what is its part and
    what the constant's: what is left of the constant beside it, as information at even odds, is ten times the ridge."""
    constant = np.ones(len(held))
    left = constant - held @ np.linalg.lstsq(held, constant)[0]
    return float(left @ left) / 4 > 10 / INVERSE_RIDGE


def _fitted(features: Numbers, wins: Numbers, weights: Numbers) -> Numbers:
    """The coefficients of logit P(win) = features @ coefficients. A win of 0.7 counts as 0.7 of a win and 0.3 of a
    loss."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=INVERSE_RIDGE, fit_intercept=False, solver="newton-cholesky", tol=1e-10)
    outcomes = np.repeat([1, 0], len(wins))
    model.fit(np.vstack([features] * 2), outcomes, np.concatenate([weights * wins, weights * (1 - wins)]))
    found: Numbers = model.coef_[0]
    return found


def _curve(logits: Numbers) -> Numbers:
    found: Numbers = np.exp(-np.logaddexp(0.0, -logits))
    return found


def scaled(differences: Numbers) -> Numbers:
    """Columns over their standard deviation, zero staying zero; of one that never varies nothing but the sign."""
    spread = differences.std(axis=0, ddof=1) if len(differences) > 1 else np.zeros(differences.shape[1])
    found: Numbers = np.divide(differences, spread, out=np.sign(differences), where=spread > 1e-12)
    return found
