"""Remedies as curves over their strength: compared where both have the same price, and drawn."""

import json
from dataclasses import replace

import numpy
import pytest
from pydantic import ValidationError

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.claims import judge, taking_part
from gatebench.bench.analysis.remedies import PAID_FOR, PRICES, frontier, frontiers, gap_at_equal, remedies
from gatebench.bench.analysis.summary import Summary
from gatebench.bench.analysis.tables import remedies_table
from gatebench.bench.errors import UserError
from gatebench.bench.run.registration import claim_digest
from gatebench.bench.suite.claims import Claim
from gatebench.dashboards.remedy_curves import looks_of, remedy_figures, shown
from tests.helpers import DPO, GOOD, bench, measured, plan_of, run_folder, suite_of, summary_of, write

OURS, THEIRS = {"objective": ["dpo", "weak", "strong"]}, {"objective": ["dpo", "other", "others"]}
CURVES = {"cell": [OURS, THEIRS]}


def curve(*points):
    return tuple(numpy.array([[point[side]] for point in points], dtype=float) for side in (0, 1))


@pytest.mark.parametrize(("ours", "theirs", "gap"), [
    ([(0, 2), (10, 2)], [(0, 0), (10, 0)], 2.0),
    ([(10, 3), (0, 1)], [(0, 0), (10, 0)], 2.0),  # in whatever order their points come
    ([(0, 0), (10, 10)], [(4, 0), (6, 0)], 5.0),  # over 4 to 6 alone
    ([(5, 7)], [(0, 0), (10, 10)], 2.0),  # one point against a line
    ([(5, 7), (5, 7)], [(0, 0), (10, 10)], 2.0),
    ([(0, 0), (5, 5), (10, 0)], [(0, 0), (10, 0)], 50 / 21),  # the mean of the grid, 2.5 but for its coarseness
])  # fmt: skip
def test_the_gap_is_meaned_over_the_prices_that_both_reach(ours, theirs, gap):
    assert gap_at_equal(curve(*ours), curve(*theirs)) == pytest.approx([gap])
    assert gap_at_equal(curve(*theirs), curve(*ours)) == pytest.approx([-gap])


def test_the_gap_is_numpys_interpolation_in_every_draw():
    random = numpy.random.default_rng(0)
    ours, theirs = ((random.normal(size=(n, 50)), random.normal(size=(n, 50))) for n in (4, 3))
    found = gap_at_equal(ours, theirs)
    for draw in range(50):
        ends = [(side[0][:, draw].min(), side[0][:, draw].max()) for side in (ours, theirs)]
        lo, hi = max(e[0] for e in ends), min(e[1] for e in ends)
        grid = numpy.linspace(lo, hi, 21) if lo <= hi else numpy.full(21, (lo + hi) / 2)
        own = []
        for prices, values in (ours, theirs):
            order = numpy.argsort(prices[:, draw])
            own.append(numpy.interp(grid, prices[order, draw], values[order, draw]).mean())
        assert found[draw] == pytest.approx(own[0] - own[1])


def places_of(*points):
    prices, values = (numpy.array([float(point[side]) for point in points]) for side in (0, 1))
    return prices, values


def test_a_strength_that_another_beats_is_no_part_of_a_curve():
    prices, values = places_of((10, -10), (6, -4), (2, -1), (2.1, -60), (6, -4))
    assert frontier(prices, values, range(5)) == [0, 1, 2, 4]
    assert frontier(prices, values, [1, 3]) == [1]


FOUR = ((10, -10), (6, -4), (2, -1), (1, 0))


@pytest.mark.parametrize(("more", "ours", "theirs", "said"), [
    ([(8, -8), (4, -3)], [0, 1, 2], [4, 5], "a curve of 2 strengths of which none beats another is too coarse"),
    ([(8, -8), (4, -3), (4.1, -90)], [0, 1, 2], [4, 5, 6], "a curve of 2 strengths"),
    ([(30, -90), (25, -80), (20, -70)], [0, 1, 2], [4, 5, 6], "no margin in common: 2.00 to 10.00 and 20.00 to 30.00"),
    ([(30, -90), (25, -80)], [0, 1, 2], [0, 4, 5], "no margin in common but that of a cell that both have"),
])  # fmt: skip
def test_curves_that_cannot_be_compared(more, ours, theirs, said):
    assert said in frontiers("margin", *places_of(*FOUR, *more), ours, theirs)


def test_curves_that_can_are_told_by_their_points():
    assert frontiers("margin", *places_of(*FOUR, (10, -20), (6, -10), (2, -60), (1, -5)), [0, 1, 3], range(4, 8)) == (
        [0, 1, 3], [4, 5, 7]
    )  # fmt: skip


def cells(places, seeds=(0, 1, 2), model="small"):
    """A cell an objective and seed at (held-out margin, held-out Δ chosen), each with its probes about it."""
    found = []
    for place, (objective, (margin, kept)) in enumerate(places.items()):
        for seed in seeds:
            cell = measured(model, objective, seed=seed)
            spread = numpy.linspace(-1, 1, len(cell.deltas) // 2) + 0.05 * seed
            for split in ("train", "test"):
                own = cell.deltas["split"] == split
                cell.deltas.loc[own, "margin"] = margin + spread
                cell.deltas.loc[own, "delta_chosen"] = kept + (1 + place / 10) * spread[::-1]
            found.append(cell)
    return found


def claim(**more):
    return Claim.model_validate({
        "name": "c", "metric": "test_delta_chosen", "expect": "greater", "contrast": CURVES, "at_equal": "test_margin",
        **more,
    })  # fmt: skip


def judged(found, wanted=None):
    return judge(wanted or claim(), [cell.axes for cell in found], found)


LINES = {"dpo": (0, 0), "weak": (4, -1), "strong": (8, -2), "other": (8, -6), "others": (4, -3)}


def test_a_curve_that_pays_less_for_the_same_margin_is_told():
    result = judged(cells(LINES))
    (contrast,) = result.contrasts
    assert result.verdict == "supported"
    assert contrast.value == pytest.approx(2.0, abs=0.1)
    assert contrast.lo < contrast.value < contrast.hi
    assert contrast.label == (
        "objective dpo / weak / strong vs objective dpo / other / others, model small dataset hh, at equal test_margin"
    )
    assert (contrast.seeds, contrast.probes) == (3, 40)


def test_a_side_that_is_a_remedy_goes_by_its_name():
    found = cells(LINES)
    named = {"ours": OURS, "of another": {"objective": "other"}}
    (contrast,) = judge(claim(), [cell.axes for cell in found], found, named).contrasts
    assert contrast.label == "ours vs objective dpo / other / others, model small dataset hh, at equal test_margin"


def test_curves_of_two_models_are_never_one_curve():
    found = [*cells(LINES), *cells({**LINES, "other": (8, -2), "others": (4, -1)}, model="large")]
    assert [contrast.value for contrast in judged(found).contrasts] == pytest.approx([2.0, 0.0], abs=0.1)
    assert len(taking_part(claim(), [cell.axes for cell in found])) == 30


def test_a_strength_that_breaks_the_model_changes_no_verdict():
    wanted = claim(contrast={"cell": [{"objective": ["dpo", "weak", "strong", "broken"]}, THEIRS]})
    (whole,), (broken,) = (judged(cells(own), wanted).contrasts for own in (LINES, {**LINES, "broken": (3, -70)}))
    assert broken.value == pytest.approx(whole.value)
    assert broken.hi - broken.value == pytest.approx(broken.value - broken.lo)


def test_a_curve_without_a_price_in_common_decides_nothing_and_hides_no_refutation():
    far = {"dpo": (30, 0), "weak": (29, 1), "strong": (28, 2), "other": (8, -6), "others": (4, -3)}
    wanted = claim(
        contrast={"cell": [{"objective": ["dpo", "weak", "strong"]}, {"objective": ["dpo", "other", "others"]}]}
    )
    result = judged([*cells({**LINES, "dpo": (0, 0)}), *cells(far, model="large")], wanted)
    assert result.verdict == "undecided"
    assert [contrast.p_holm is None for contrast in result.contrasts] == [False, True]
    refuted = judged([*cells(LINES), *cells(far, model="large")], claim(expect="less", contrast=CURVES))
    assert refuted.verdict == "refuted"
    assert refuted.contrasts[0].p_holm == pytest.approx(2 * refuted.contrasts[0].p)


def test_a_model_on_which_one_side_is_not_planned_takes_no_part():
    found = [*cells(LINES), *cells({"other": (8, -6), "others": (4, -3)}, model="large")]
    wanted = claim(
        contrast={"cell": [{"objective": ["weak", "strong", "dpo"]}, {"objective": ["other", "others", "dpo"]}]}
    )
    assert len(judged(found, wanted).contrasts) == 1


def test_one_seed_and_one_probe_have_no_interval():
    found = [replace(cell, deltas=cell.deltas[cell.deltas["prompt"] == 7]) for cell in cells(LINES, seeds=(0,))]
    (contrast,) = judged(found).contrasts
    assert (contrast.lo, contrast.hi, contrast.p) == (None, None, None)
    assert contrast.reason == "one seed and one probe: nothing tells how far they would differ"


def test_a_strength_that_failed_decides_nothing():
    found = cells(LINES)
    result = judge(claim(), [cell.axes for cell in found], found[:-1])
    assert result.verdict == "undecided"
    assert "1 of 15 planned cells have no result" in result.contrasts[0].reason


@pytest.mark.parametrize(("more", "said"), [
    ({"at_equal": "test_delta_chosen"}, "name another metric"),
    ({"spread": "objective", "contrast": {"gate": ["seq", "none"]}}, "spread cannot"),
    ({"strata": "ches"}, "strata cannot"),
    ({"at_equal": "test_margn"}, "did you mean 'test_margin'"),
    ({"at_equal": "ches"}, "measured before training and the same at every strength"),
])  # fmt: skip
def test_what_curves_cannot_be_compared_by(more, said):
    with pytest.raises(ValidationError, match=said):
        claim(**more)


def test_claims_without_curves_keep_their_digest_and_others_do_not():
    plain = {"name": "c", "metric": "delta_chosen", "expect": "greater", "contrast": {"gate": ["seq", "none"]}}
    assert claim_digest(Claim.model_validate(plain)) == claim_digest(Claim.model_validate({**plain, "at_equal": None}))
    assert claim_digest(claim()) != claim_digest(claim(at_equal="test_accuracy"))


def group(objective, margin, kept, gate="none"):
    metrics = {
        PAID_FOR: kept,
        f"{PAID_FOR}_lo": kept - 1,
        f"{PAID_FOR}_hi": kept + 1,
        **dict.fromkeys(PRICES, margin),
    }
    return Group("m", "hh", objective, gate, (0, 1, 2), metrics, gate != "none")


GROUPS = (group("dpo", 5, -9), group("mix 1", 5, -2), group("mix 2", 3, -1), group("dpo", 4, -3, "seq"))
NAMED = {
    "mix": {"objective": ["mix 1", "mix 2"]},
    "gate": {"gate": "seq"},
    "none": {"objective": "dpo", "gate": "none"},
}
SUMMARY = Summary("s", "run", (), groups=GROUPS, remedies=NAMED)


def test_which_points_no_other_is_better_than():
    found = {remedy.name: remedy for remedy in remedies(NAMED, GROUPS)}
    assert [group.objective for group in found["mix"].strengths] == ["mix 1", "mix 2"]
    assert {name: remedy.on_front for name, remedy in found.items()} == {
        "mix": (True, True), "gate": (False,), "none": (False,)
    }  # fmt: skip


def test_the_table_and_the_figure_have_every_strength():
    table = remedies_table(SUMMARY)
    assert [tuple(cell.text for cell in row.cells[2:5]) for row in table.rows] == [
        ("mix", "mix 1", "-2.00 ±1.00"), ("mix", "mix 2", "-1.00 ±1.00"), ("gate", "dpo, seq", "-3.00 ±1.00"),
        ("none", "dpo", "-9.00 ±1.00"),
    ]  # fmt: skip
    assert [row.cells[4].bold for row in table.rows] == [True, True, False, False]
    (figure,) = remedy_figures(SUMMARY)
    mix, *_ = figure["spec"]["data"]
    assert (mix["x"], mix["y"]) == ([3, 5], [-1, -2])
    assert figure["axes"] == {"model": "m", "dataset": "hh"}
    json.dumps(figure["spec"])


def test_what_a_method_breaks_does_not_flatten_the_others():
    assert shown([float(value) for value in (*range(20), -500, -400)]) == pytest.approx([-1.52, 20.52])
    assert shown([3.0]) == [2.0, 4.0]


def test_no_two_remedies_look_alike():
    assert len({looks_of(place) for place in range(72)}) == 72


def test_a_suite_names_its_remedies(tmp_path):
    suite = suite_of(tmp_path, GOOD + "remedies: {plain: {gate: none}}\n")
    assert suite.remedies == {"plain": {"gate": "none"}}
    for wrong, said in (
        ("{plain: {gate: non}}", "remedy 'plain': no gate 'non' in this suite"),
        ("{plain: {seed: 0}}", "axis of remedy plain"),
        ("{plain: {}}", "remedy 'plain' names no cells"),
    ):
        with pytest.raises((UserError, ValidationError), match=said):
            suite_of(tmp_path, GOOD + f"remedies: {wrong}\n")


def test_a_remedy_whose_cells_are_excluded_is_refused(tmp_path):
    text = (
        GOOD
        + "remedies: {gated: {objective: extended_sft, gate: seq}}\nexclude: [{objective: extended_sft, gate: seq}]\n"
    )
    with pytest.raises(UserError, match="remedy 'gated': the suite has no cell with objective extended_sft, gate seq"):
        plan_of(tmp_path, text)


def test_a_price_has_to_be_measured(tmp_path):
    own = (
        "{name: c, metric: delta_chosen, at_equal: generation_distinct_2, expect: less, contrast: {gate: [seq, none]}}"
    )
    with pytest.raises(UserError, match="generation_distinct_2 is measured by"):
        suite_of(tmp_path, GOOD + f"claims: [{own}]\n")


@pytest.mark.slow
def test_a_run_shows_its_remedies(tmp_path):
    suite = write(tmp_path, DPO.replace("objectives: [dpo]", "objectives: [dpo, {name: mix, loss: {dpo: 1, nll: 0.2}}]")
                  + "remedies: {NLL mix: {objective: [dpo, mix], gate: none}}\n")  # fmt: skip
    done = bench("run", suite, "--results", tmp_path / "results", MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    folder = run_folder(tmp_path)
    assert summary_of(folder)["remedies"] == {"NLL mix": {"objective": ["dpo", "mix"], "gate": "none"}}
    page = (folder / "report.html").read_text()
    assert "Remedies compared" in page
    assert "Every remedy over its strength" in page
    assert "NLL mix" in (folder / "figures/tables.md").read_text()
