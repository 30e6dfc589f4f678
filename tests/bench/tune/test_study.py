"""Which trial is recommended and which is stopped, by hand; studies in memory."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from gatebench.bench.errors import UserError
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.pruning import adds_nothing
from gatebench.bench.tune.study import counts, make_task, one_database
from gatebench.bench.tune.winner import completed, front, winner
from tests.helpers import DPO, suite_of


def study_of(*rows, directions=("maximize", "maximize")):
    """A study of completed trials: (delta_chosen, margin[, gap of the constraint])."""
    study = optuna.create_study(directions=directions)
    for number, (chosen, margin, *gap) in enumerate(rows):
        attributes = {
            "parameters": {"kappa": number},
            "metrics": {"delta_chosen": chosen, "margin": margin},
            "constraints": gap,
        }
        study.add_trial(create_trial(values=[chosen, margin][: len(directions)], user_attrs=attributes))
    return study


def test_the_front_is_what_nothing_beats():
    study = study_of((1, 5), (2, 4), (1, 4), (3, 1), (2, 4))
    numbers = [trial.number for trial in front(completed(study), ["delta_chosen", "margin"])]
    assert numbers == [0, 1, 3, 4]
    assert [trial.number for trial in front(completed(study), ["margin"])] == [0]


def test_the_winner_is_nearest_to_the_best_of_both():
    assert winner(study_of((0, 10), (8, 9), (10, 0)), Tune()).number == 1
    assert winner(study_of((0, 10), (10, 0)), Tune()).number in (0, 1)


def test_one_that_breaks_a_constraint_wins_only_where_all_do():
    found = winner(study_of((0, 1, -0.1), (9, 9, 0.2)), Tune())
    assert (found.number, found.feasible) == (0, True)
    found = winner(study_of((0, 1, 0.1), (9, 9, 0.2)), Tune())
    assert (found.number, found.feasible) == (1, False)


def test_repeated_and_surplus_trials_do_not_count():
    study = study_of((1, 1))
    study.add_trial(create_trial(values=[9, 9], user_attrs={"same_as": 0, "metrics": {}, "parameters": {}}))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"surplus": True}))
    assert [trial.number for trial in completed(study)] == [0]
    assert counts(study).done == 2
    assert winner(optuna.create_study(directions=["maximize"]), Tune(maximize=["margin"])) is None


def test_a_trial_is_stopped_only_where_a_completed_one_was_as_good_in_every_metric():
    others = [(0, 100), (20, 80), (50, 50), (80, 20), (100, 0)]
    whole = [True] * 5
    assert adds_nothing((40, 40), others, whole)
    assert adds_nothing((51, 51), others, whole)  # within 2 % of the range
    assert not adds_nothing((53, 51), others, whole)
    assert not adds_nothing((60, 45), others, whole)  # trades one metric for the other
    assert not adds_nothing((40, 40), others[:4], whole[:4])  # too few to tell
    assert not adds_nothing((40, 40), [*others, (0, 0)], [True, True, False, True, True, True])


@pytest.mark.parametrize(("text", "metrics", "gap"), [(">= 0.6", 0.5, 0.1), ("<= 2", 5, 3), (">= -1e0", 0, -1)])
def test_a_bound_says_by_how_much_it_is_missed(text, metrics, gap):
    (bound,) = Tune(subject_to={"accuracy": text}).bounds
    assert bound.violation({"accuracy": metrics}) == pytest.approx(gap)


def test_a_grid_is_no_longer_than_its_points_and_has_no_ranges(tmp_path):
    def task(block):
        suite = suite_of(tmp_path, DPO + f"tune: {{sampler: grid, {block}}}\n")
        return make_task(suite, suite.tune, resolve(suite, tmp_path / "suite.yaml"), tmp_path / "results")

    grid = "space: {kappa: [1, 2, 4], percentile: [10, 50]}"
    assert task(f"trials: 40, {grid}").tune.trials == 6
    assert task(f"trials: 4, {grid}").tune.trials == 4
    with pytest.raises(UserError, match=r"tune\.sampler: grid needs a list of values for percentile"):
        task("space: {kappa: [1, 2, 4]}")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("postgresql+psycopg2://me:a@h/db", "postgresql://you@h/db", True),
        ("postgresql://h/db", "postgresql://h/two", False),
        ("postgresql://h:1/db", "postgresql://h:2/db", False),
        ("postgresql://h/db", "postgresql://h:5432/db", True),
        ("postgresql://h:54x/db", "postgresql://h/db", False),
        ("sqlite:///a.db", "sqlite:///./a.db", True),
        ("sqlite:///a.db", "sqlite:////a.db", False),
        ("journal:a", "sqlite:///a", False),
        ("sqlite:///a", "http://h:5000", False),
    ],
)
def test_one_database_has_many_addresses(first, second, same):
    assert one_database(first, second) is same
