"""Two cells on the same items of a task: known p, what several seeds do, and what resampling items covers."""

import numpy
import pandas
import pytest
from scipy import stats

from gatebench.bench.analysis.aggregates import task_contrasts
from gatebench.bench.analysis.claims import judge
from gatebench.bench.analysis.comparison import differences
from gatebench.bench.analysis.probe_arrays import Measured, drawn_means, exact_p
from gatebench.bench.analysis.statistics import MOST_RESAMPLED, draws, estimate, mcnemar
from gatebench.bench.errors import UserError
from gatebench.bench.suite.claims import Claim
from tests.helpers import DPO, measured, suite_of

ACC = "lm_eval/sums/acc"
# Of 100 items the gated cell has 68 right and the ungated one 56: 53 both, 15 it alone, 3 the other alone.
OURS, THEIRS = numpy.repeat([1.0, 1, 0, 0], [53, 15, 3, 29]), numpy.repeat([1.0, 0, 1, 0], [53, 15, 3, 29])
CLAIM = {"name": "right more often", "metric": ACC, "contrast": {"gate": ["seq", "none"]}, "expect": "greater"}


def cell(gate, values, seed=0, items=None):
    own = measured(gate=gate, seed=seed)
    index = range(len(values)) if items is None else items
    series = pandas.Series(numpy.asarray(values, dtype=float), index=index)
    return Measured(own.axes, own.deltas, gated=own.gated, items={ACC: series})


def test_the_same_answers_unpaired_and_paired():
    """Unpaired by lm-eval's own standard errors, as its results alone would be compared: 0.080; by item: 0.008."""
    from lm_eval.api.metrics import mean_stderr

    z = (OURS.mean() - THEIRS.mean()) / numpy.hypot(mean_stderr(OURS.tolist()), mean_stderr(THEIRS.tolist()))
    assert 2 * stats.norm.sf(z) == pytest.approx(0.080, abs=5e-4)
    assert mcnemar(OURS, THEIRS) == pytest.approx(0.008, abs=5e-4)
    assert mcnemar(OURS, THEIRS) == pytest.approx(2 * sum([1, 18, 153, 816]) / 2**18)  # 3 or fewer of 18, twice
    assert mcnemar(THEIRS, OURS) == mcnemar(OURS, THEIRS)
    assert mcnemar(OURS, OURS) == 1.0


def test_claims_comparisons_and_the_table_tell_the_paired_one():
    cells = [cell("seq", OURS), cell("none", THEIRS)]
    found = judge(Claim.model_validate(CLAIM), [own.axes for own in cells], cells)
    (contrast,) = found.contrasts
    assert found.verdict == "supported"
    assert contrast.p == pytest.approx(0.00754, abs=1e-5)
    assert contrast.value == pytest.approx(0.12)
    assert 0 < contrast.lo < 0.12 < contrast.hi
    assert contrast.probes == 100
    (row,) = task_contrasts(cells)
    assert (row.gate, row.gated, row.ungated, row.exact, row.items) == ("seq", 0.68, 0.56, True, 100)
    assert row.p == pytest.approx(0.00754, abs=1e-5)
    theirs, ours = ([cell("none", values)] for values in (OURS, THEIRS))
    (row,) = [row for row in differences(ours, theirs) if row.metric == ACC]
    assert (row.p, row.value) == pytest.approx((0.00754, 0.12), abs=1e-5)


def test_items_are_paired_by_what_they_are_and_not_by_their_place():
    order = numpy.random.default_rng(0).permutation(100)
    moved = cell("none", THEIRS[order], items=order)
    assert exact_p([{0: cell("seq", OURS)}, {0: moved}], ACC) == pytest.approx(mcnemar(OURS, THEIRS))
    half = cell("none", THEIRS[50:], items=range(50, 100))
    assert task_contrasts([cell("seq", OURS), half])[0].items == 50


def test_several_seeds_and_graded_items_are_resampled():
    seeds = [cell(gate, values, seed) for gate, values in (("seq", OURS), ("none", THEIRS)) for seed in (0, 1)]
    (row,) = task_contrasts(seeds)
    assert (row.exact, row.seeds) == (False, 2)
    assert row.p < 0.02
    (row,) = task_contrasts([cell("seq", OURS / 2), cell("none", THEIRS / 2)])
    assert not row.exact
    assert row.p == pytest.approx(0.005, abs=0.004)


def correlated(rng, effect, runs, items):
    """[runs, 2, items] right or wrong of two cells that find the same items hard."""
    hard = rng.normal(size=(runs, 1, items))
    own = rng.normal(size=(runs, 2, items))
    reach = numpy.array([effect, 0.0])[None, :, None]
    return (hard + 0.5 * own + reach > 0).astype(float)


def test_mcnemar_holds_its_level_and_the_paired_interval_covers():
    rng = numpy.random.default_rng(4)
    assert numpy.mean([mcnemar(*pair) < 0.05 for pair in correlated(rng, 0.0, 2000, 150)]) <= 0.05
    effect = 0.3
    truth = stats.norm.cdf(effect / numpy.hypot(1, 0.5)) - 0.5
    hits = 0
    for ours, theirs in correlated(rng, effect, 300, 150):
        rows = [{0: cell("seq", ours)}, {0: cell("none", theirs)}]
        found = estimate(drawn_means(rows, ACC), lambda means: means[0] - means[1])
        hits += found.lo <= truth <= found.hi
    assert 0.92 <= hits / 300 <= 0.98


def test_thousands_of_items_have_the_interval_of_fewer_and_fill_no_memory():
    rng = numpy.random.default_rng(5)
    pair = correlated(rng, 0.3, 1, MOST_RESAMPLED)[0]

    def width(values):
        found = estimate(draws(values[:, None]), lambda means: means[0] - means[1])
        return found.hi - found.lo

    twice = numpy.concatenate([pair, pair], axis=1)  # more than are resampled, and the same spread
    assert width(twice) * numpy.sqrt(2) == pytest.approx(width(pair), rel=0.03)


def test_a_claim_about_a_task_needs_the_tasks(tmp_path):
    claim = "claims:\n  - {name: c, metric: lm_eval/sums/acc, contrast: {gate: [seq, none]}, expect: greater}\n"
    with pytest.raises(UserError, match=r"lm_eval/sums/acc is measured by evaluate.lm_eval"):
        suite_of(tmp_path, DPO + claim)
    assert suite_of(tmp_path, DPO + "  lm_eval: {tasks: [toolbox_choice]}\n" + claim).claims[0].metric == ACC
    with pytest.raises(UserError, match="expected lm_eval/TASK/METRIC"):
        suite_of(tmp_path, DPO + claim.replace("lm_eval/sums/acc", "lm_eval/sums"))
