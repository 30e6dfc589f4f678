"""Claims on hand-made cells: values by hand, counterparts, corrections, and what is said when cells are missing."""

from dataclasses import replace

import pytest

from gatebench.bench.analysis.claims import judge
from gatebench.bench.analysis.summary import run_id, summarize
from gatebench.bench.errors import UserError
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.store.store import Store
from gatebench.bench.suite.claims import Claim
from tests.helpers import CLAIM, GOOD, MEANS, measured, measured_cells, plan_of, suite_of


def claim(**more):
    return Claim.model_validate(
        {"name": "c", "metric": "delta_chosen", "expect": "greater", "contrast": {"gate": ["seq", "none"]}, **more}
    )


def judged(wanted, cells, planned=None):
    return judge(wanted, [c.axes for c in (planned or cells)], cells)


def test_a_contrast_for_every_value_of_by():
    found = judged(claim(by=["model", "loss"], effect=1), measured_cells(MEANS))
    assert found.contrasts[0].label == "gate seq vs gate none, model small loss dpo"
    assert [contrast.value for contrast in found.contrasts] == pytest.approx([12, 5, 23, 6])
    assert found.verdict == "supported"
    assert found.seeds == 3
    # seeds and probes shift both sides alike, so that nothing is left of their spread
    assert all(contrast.hi - contrast.lo < 1e-6 for contrast in found.contrasts)
    assert found.contrasts[0].power == 1.0


def test_without_by_the_counterparts_are_meaned():
    found = judged(claim(), measured_cells(MEANS))
    assert [contrast.value for contrast in found.contrasts] == pytest.approx([(12 + 5 + 23 + 6) / 4])


def test_the_other_direction_is_refuted_and_held_out_probes_have_their_own_name():
    assert judged(claim(expect="less"), measured_cells(MEANS)).verdict == "refuted"
    assert judged(claim(metric="test_delta_chosen", expect="less"), measured_cells(MEANS)).verdict == "supported"


def test_cells_of_two_descriptions_are_paired_where_they_are_alike():
    sides = [{"model": "small", "gate": "seq"}, {"model": "large", "gate": "none"}]
    found = judged(claim(contrast={"cell": sides}, by=["objective"]), measured_cells(MEANS))
    assert [contrast.value for contrast in found.contrasts] == pytest.approx([22, 7])


def test_spread_compares_standard_deviations():
    found = judged(claim(spread="objective", by=["model"], expect="less"), measured_cells(MEANS))
    assert [contrast.value for contrast in found.contrasts] == pytest.approx([0.5 - 3, 1.5 - 7])
    assert found.verdict == "supported"


def test_several_gates_give_a_contrast_each():
    values = {("small", "dpo", gate): mean for gate, mean in {"seq": 3.0, "shuffled": 1.0, "constant": 2.0}.items()}
    found = judged(claim(contrast={"gate": ["seq", ["shuffled", "constant"]]}), measured_cells(values))
    assert [contrast.value for contrast in found.contrasts] == pytest.approx([2, 1])


def test_data_sets_are_resampled_apart():
    both = [
        measured(gate=gate, seed=seed, mean=mean, dataset=dataset, probes=probes)
        for gate, mean in (("none", 0.0), ("seq", 1.0)) for seed in (0, 1, 2)
        for dataset, probes in (("hh", 40), ("toolbox", 25))
    ]  # fmt: skip
    found = judged(claim(), both)
    assert found.contrasts[0].value == pytest.approx(1.0)
    assert found.contrasts[0].probes == 25


def test_a_claim_with_missing_cells_is_undecided_and_says_so():
    cells = measured_cells(MEANS)
    without = [c for c in cells if not (c.axes["model"] == "large" and c.axes["gate"] == "seq")]
    found = judged(claim(by=["model"]), without, cells)
    assert found.verdict == "undecided"
    assert found.contrasts[1].value is None
    assert found.contrasts[1].reason == "none of 2 pairs of cells is finished on both sides"
    one_less = [c for c in cells if (c.axes["model"], c.axes["objective"]) != ("large", "ipo")]
    found = judged(claim(), one_less, cells)
    assert found.contrasts[0].value == pytest.approx((12 + 5 + 23) / 3)
    assert found.contrasts[0].reason.startswith("6 of 24 planned cells have no result, the first: large/hh/ipo/none/0")
    assert found.contrasts[0].p is None
    assert found.verdict == "undecided"


def test_a_failed_seed_makes_no_claim_firmer():
    """Six cells of which one collapsed: with it p 0.63, without it 0.04 and "supported"."""
    gains = {0: 5.0, 1: 4.0, 2: -30.0}
    cells = [
        measured(gate=gate, seed=seed, mean=gain if gate == "seq" else 0.0, probes=100)
        for seed, gain in gains.items() for gate in ("none", "seq")
    ]  # fmt: skip
    assert judged(claim(), cells).verdict == "undecided"
    kept = [cell for cell in cells if (cell.axes["gate"], cell.axes["seed"]) != ("seq", 2)]
    found = judged(claim(), kept, cells)
    assert found.verdict == "undecided"
    assert found.contrasts[0].reason == "1 of 6 planned cells have no result, the first: small/hh/dpo/seq/2"
    assert judged(claim(), kept, [c for c in cells if c.axes["seed"] != 2]).contrasts[0].p is not None


def test_cells_that_were_left_out_of_a_run_make_it_another_run_and_are_said(tmp_path):
    """--only has a folder of its own beside the run of a suite that has these cells alone."""
    suite = GOOD.replace("seeds: [0]", "seeds: [0, 1]") + CLAIM
    plan, alone = plan_of(tmp_path, suite), plan_of(tmp_path, GOOD + CLAIM)
    loaded = suite_of(tmp_path, suite)
    some = make_plan(loaded, resolve(loaded, tmp_path / "suite.yaml"), lambda axes: axes["seed"] == 0)
    assert len(some.cells) == len(some.left_out) == 4
    assert sorted(map(str, some.planned)) == sorted(str(cell.axes()) for cell in plan.cells)
    assert [cell.stages for cell in some.cells] == [cell.stages for cell in alone.cells]
    assert len({run_id(plan), run_id(alone), run_id(some)}) == 3
    store = Store(tmp_path / "store")
    assert [summarize(each, store).claims[0].left_out for each in (plan, alone, some)] == [0, 0, 4]


def test_the_family_is_of_the_cells_that_a_run_was_asked_for(tmp_path):
    """One contrast of two: its p is not doubled by the one that was left out, which the verdict says."""
    cells = [
        measured(gate=gate, seed=seed, mean=gain * (gate == "seq"), model=model, probes=9)
        for model in ("small", "large") for gate in ("none", "seq") for seed, gain in enumerate((5.0, 4.0, 7.0))
    ]  # fmt: skip
    both = judged(claim(by=["model"]), cells)
    small = [cell for cell in cells if cell.axes["model"] == "small"]
    alone, among = judged(claim(by=["model"]), small), judged(claim(by=["model"]), small, cells)
    assert alone.contrasts[0].p_holm == alone.contrasts[0].p == both.contrasts[0].p
    assert among.contrasts[0].p_holm == pytest.approx(2 * alone.contrasts[0].p)
    assert replace(alone, left_out=6).told == "supported on part of its cells"
    assert among.told == "undecided"


def test_a_run_without_a_pair_of_a_claim_says_so():
    found = judged(claim(), [cell for cell in measured_cells(MEANS) if cell.axes["gate"] == "seq"])
    assert found.verdict == "undecided"
    assert [c.reason for c in found.contrasts] == ["the cells that it compares were left out of this run"]


def test_one_seed_and_one_probe_decide_nothing():
    found = judged(claim(), [measured(gate=gate, mean=mean, probes=1) for gate, mean in (("none", 0.0), ("seq", 9.0))])
    assert found.verdict == "undecided"
    (contrast,) = found.contrasts
    assert (contrast.value, contrast.lo, contrast.hi, contrast.p) == (9.0, None, None, None)
    assert contrast.reason == "one seed and one probe: nothing tells how far they would differ"


@pytest.mark.parametrize(("probes", "verdict"), [(2, "undecided"), (5, "undecided"), (6, "supported")])
def test_probes_that_all_say_the_same_count_as_signs(probes, verdict):
    """A difference without any spread has the p of n of n signs, never 0."""
    found = judged(
        claim(), [measured(gate=gate, mean=mean, probes=probes) for gate, mean in (("none", 0.0), ("seq", 9.0))]
    )
    assert found.contrasts[0].p == pytest.approx(2.0 ** (1 - probes))
    assert found.verdict == verdict


def test_a_data_set_of_one_probe_narrows_nothing():
    """Beside one of forty, whose spread stays; with one seed its own cannot be told, nor can that of the mean."""

    def judge_of(seeds, datasets):
        cells = [
            measured(gate=gate, seed=seed, mean=mean, dataset=dataset, probes=probes)
            for gate, mean in (("none", 0.0), ("seq", 1.0)) for seed in seeds for dataset, probes in datasets
        ]  # fmt: skip
        for cell in cells:
            if cell.gated:  # so that probes differ in what the gate does
                cell.deltas["delta_chosen"] *= 3
        return judged(claim(), cells)

    mixed, alone = judge_of((0, 1, 2), (("hh", 40), ("one", 1))), judge_of((0, 1, 2), (("hh", 40),))
    assert 2 * (mixed.contrasts[0].hi - mixed.contrasts[0].lo) > alone.contrasts[0].hi - alone.contrasts[0].lo > 0.1
    assert mixed.contrasts[0].p > alone.contrasts[0].p
    assert judge_of((0,), (("hh", 40), ("one", 1))).contrasts[0].reason.startswith("one seed and one probe")


def test_a_metric_that_the_data_do_not_have():
    found = judged(claim(metric="delta_others"), measured_cells(MEANS))
    assert found.verdict == "undecided"
    assert "delta_others in common" in found.contrasts[0].reason


A_CLAIM = "claims: [{{name: c, metric: {0}, contrast: {1}, expect: {2}}}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A_CLAIM.format("delta_choosen", "{gate: [seq, none]}", "greater"), "did you mean 'delta_chosen'?"),
        (A_CLAIM.format("delta_chosen", "{gate: [sec, none]}", "greater"), "no gate 'sec' in this suite; did you mean"),
        (A_CLAIM.format("delta_chosen", "{gate: [seq, none]}", "more"), "'greater' or 'less'"),
        (A_CLAIM.format("delta_chosen", "{cell: [{model: neox-9m}, {}]}", "less"), "no model 'neox-9m'"),
        (A_CLAIM.format("delta_chosen", "{}", "less"), "give either gate"),
        (A_CLAIM.format("delta_chosen", "{gate: [seq, none]}", "less, by: [modell]"), "did you mean 'model'?"),
        (A_CLAIM.format("delta_chosen", "{gate: [seq, none]}", "less, spread: loss"), "unknown axis 'loss'"),
        (
            "exclude: [{loss: dpo, gate: seq}]\n" + A_CLAIM.format("delta_chosen", "{gate: [seq, none]}", "less"),
            "claim 'c': the suite has no cell with gate seq",
        ),
    ],
)
def test_a_claim_about_what_the_suite_does_not_have_is_a_mistake_of_its_plan(tmp_path, text, expected):
    with pytest.raises(UserError) as caught:
        plan_of(tmp_path, GOOD + text)
    assert expected in " ".join(caught.value.sentences)
