"""Cohen's kappa: by hand, against another library, and the coverage of its interval."""

import numpy
import pytest
from sklearn.metrics import cohen_kappa_score

from gatebench.bench.judged.agreement import agreements, cohens_kappa, kappa_table

SCORES = numpy.array([1.0, 0.5, 0.0])


def test_kappa_of_cohens_own_kind_of_table():
    """Two raters, 50 answers: 20 both wins, 15 both losses, 5 and 10 the rest: (0.7 - 0.5) / (1 - 0.5)."""
    pairs = [(1.0, 1.0)] * 20 + [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 10 + [(0.0, 0.0)] * 15
    agreed, kappa, lo, hi = cohens_kappa(pairs)
    assert (agreed, kappa) == pytest.approx((0.7, 0.4))
    assert lo < 0.4 < hi


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_another_library(seed):
    rng = numpy.random.default_rng(seed)
    ours = rng.integers(0, 3, 80)
    theirs = numpy.where(rng.random(80) < 0.5, ours, rng.integers(0, 3, 80))
    pairs = list(zip(SCORES[ours].tolist(), SCORES[theirs].tolist(), strict=True))
    assert cohens_kappa(pairs)[1] == pytest.approx(cohen_kappa_score(ours, theirs))


@pytest.mark.parametrize("kappa", [0.3, 0.9])
@pytest.mark.parametrize("answers", [20, 100])
def test_its_interval_covers_the_kappa_that_votes_are_drawn_with(kappa, answers):
    rng, shares = numpy.random.default_rng(0), numpy.array([0.6, 0.1, 0.3])
    chances = kappa * numpy.diag(shares) + (1 - kappa) * numpy.outer(shares, shares)
    places = [(ours, theirs) for ours in SCORES.tolist() for theirs in SCORES.tolist()]
    covered, trials = 0, 400
    for _ in range(trials):
        pairs = [places[place] for place in rng.choice(9, answers, p=chances.ravel())]
        _, _, lo, hi = cohens_kappa(pairs)
        covered += lo is not None and lo <= kappa <= hi
    assert 0.92 <= covered / trials <= 0.99


def test_two_who_always_say_the_same_one_thing_have_none():
    assert cohens_kappa([(1.0, 1.0)] * 9) == (1.0, None, None, None)


def test_two_who_agree_on_everything_are_not_sure_to_do_so_for_ever():
    _, kappa, lo, hi = cohens_kappa([(1.0, 1.0), (0.0, 0.0)] * 5)
    assert (kappa, hi) == pytest.approx((1.0, 1.0))
    assert 0.2 < lo < 0.6


def test_raters_are_compared_on_what_both_have_judged():
    scores = {"anna": {"a": 1.0, "b": 0.0, "c": 0.5}, "ben": {"a": 1.0, "b": 1.0}, "cora": {"d": 1.0}}
    (found,) = agreements(scores)
    assert (found.first, found.second, found.both, found.agreed) == ("anna", "ben", 2, 0.5)
    assert "anna" in str(kappa_table([found]))
