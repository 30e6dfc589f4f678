"""Claims on parts of the probes by what was known of them before training, and points by kind of pair."""

from dataclasses import replace

import numpy
import pandas
import pytest
from pydantic import ValidationError

from gatebench.bench.analysis.aggregates import Group, groups, groups_by_kind
from gatebench.bench.analysis.claims import judge
from gatebench.bench.analysis.tables import phenomenon
from gatebench.bench.errors import UserError
from gatebench.bench.run.registration import claim_digest
from gatebench.bench.suite.claims import Claim
from tests.helpers import CLAIM, GOOD, measured, suite_of

PROBES = 40


def claim(**more):
    return Claim.model_validate({
        "name": "c", "metric": "delta_chosen", "expect": "greater", "contrast": {"gate": ["seq", "none"]}, **more
    })  # fmt: skip


def cells(scale=1.0, order=1):
    """A gate that gains 1 nat on the lower half of the probes by CHES, whose order is not that of their places."""
    found = []
    for gate in ("none", "seq"):
        for seed in (0, 1, 2):
            cell = measured(gate=gate, seed=seed, probes=PROBES)
            train = cell.deltas["split"] == "train"
            places = cell.deltas["prompt"].to_numpy() * 7 % PROBES
            cell.deltas["ches"] = numpy.where(train, order * scale * (seed + 1) * places, numpy.nan)
            if gate == "seq":
                cell.deltas.loc[train & (places < PROBES // 2), "delta_chosen"] += 1.0
            found.append(cell)
    return found


def judged(wanted, measured_cells):
    return judge(wanted, [cell.axes for cell in measured_cells], measured_cells)


def test_a_contrast_for_each_third_of_the_probes():
    found = judged(claim(strata="ches"), cells())
    assert [contrast.label for contrast in found.contrasts] == [
        f"gate seq vs gate none, {third} ches" for third in ("low", "middle", "high")
    ]
    assert [contrast.value for contrast in found.contrasts] == pytest.approx([1.0, 6 / 13, 0.0])
    assert [contrast.probes for contrast in found.contrasts] == [14, 13, 13]
    (whole,) = judged(claim(), cells()).contrasts
    assert whole.value == pytest.approx(0.5)


def test_thirds_are_of_ranks_so_that_the_size_of_a_models_states_does_not_count():
    values = [[c.value for c in judged(claim(strata="ches"), cells(scale)).contrasts] for scale in (1.0, 1e6)]
    assert values[0] == values[1]
    turned = [c.value for c in judged(claim(strata="ches"), cells(order=-1)).contrasts]
    assert turned == pytest.approx([0.0, 7 / 13, 1.0], abs=0.1)


def marked(**more):
    """Cells of which every second pair is a near miss, by place; their geometry stands in rows of its own."""
    found = cells()
    for cell in found:
        places = cell.deltas[["split", "prompt"]].assign(near_miss=cell.deltas["prompt"] % 2.0)
        cell.deltas.loc[cell.deltas["prompt"] % 2 == 1, "delta_chosen"] -= 10.0
        object.__setattr__(cell, "deltas", pandas.concat([cell.deltas, places], ignore_index=True))
    return found


def test_a_contrast_for_each_kind_of_pair():
    found = judged(claim(strata="kind"), marked())
    assert [contrast.label for contrast in found.contrasts] == [
        "gate seq vs gate none, worded apart", "gate seq vs gate none, near miss",
    ]  # fmt: skip
    assert [contrast.probes for contrast in found.contrasts] == [20, 20]
    whole = judged(claim(), marked()).contrasts[0].value
    assert sum(contrast.value for contrast in found.contrasts) / 2 == pytest.approx(whole)


def test_points_by_kind_of_pair_have_their_own_probes_alone():
    found = groups_by_kind(marked())
    assert [(group.kind, group.gate) for group in found] == [
        (kind, gate) for kind in ("worded apart", "near miss") for gate in ("none", "seq")
    ]
    apart, near = found[0].metrics["delta_chosen"], found[2].metrics["delta_chosen"]
    assert (apart + near) / 2 == pytest.approx(groups(marked())[0].metrics["delta_chosen"])
    assert apart - near == pytest.approx(10, abs=1)
    assert groups_by_kind(cells()) == []


def test_a_sign_that_seeds_do_not_share_has_no_name():
    kind = {"delta_chosen": -3.0, "delta_others": -1.0, "delta_argmax": 0.5, "delta_shared": -2.0}
    group = Group("m", "d", "dpo", "none", (0, 1), kind, kind="worded apart")
    assert phenomenon(group) == "squeezing"
    assert phenomenon(replace(group, unsteady=("delta_argmax",))) == "displacement"
    assert phenomenon(replace(group, unsteady=("delta_chosen",))) == ""
    assert phenomenon(replace(group, metrics={**kind, "delta_argmax": -1.0, "delta_shared": 1.0})) == ""
    cells_of_one_gate = [cell for cell in marked() if cell.gate == "none"]
    cells_of_one_gate[0].deltas.loc[:, "delta_chosen"] += 40.0
    assert all("delta_chosen" in found.unsteady for found in groups_by_kind(cells_of_one_gate))


def test_cells_without_the_strata_leave_it_undecided():
    found = judged(
        claim(strata="ches"), [measured(gate=gate, seed=seed) for gate in ("none", "seq") for seed in (0, 1)]
    )
    assert found.verdict == "undecided"
    assert found.contrasts[0].reason == "the cells have no seed or no probe with ches in common"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"strata": "chess"}, "unknown strata 'chess'; did you mean 'ches'?"),
        ({"strata": "margin"}, "unknown strata 'margin'"),
        ({"strata": "ches", "metric": "generation_pass_rate"}, "strata are parts of the probes, and generation_pass"),
    ],
)
def test_strata_that_make_no_sense_are_refused(more, sentence):
    with pytest.raises((ValueError, ValidationError)) as caught:
        claim(**more)
    assert sentence in str(caught.value)


def test_a_suite_that_does_not_measure_them_is_told_so(tmp_path):
    stratified = GOOD + CLAIM.replace("expect: greater", "expect: greater, strata: ches")
    with pytest.raises(UserError, match=r"ches is measured by evaluate\.geometry, which this suite does not have"):
        suite_of(tmp_path, stratified)
    suite_of(tmp_path, stratified.replace("evaluate:", "evaluate:\n  geometry: true"))


def test_a_claim_without_strata_has_the_digest_that_it_always_had():
    assert claim_digest(claim()) == claim_digest(claim(strata=None)) != claim_digest(claim(strata="ches"))
    assert claim_digest(claim()) == "7853c467a61e2e26c91b93d4"
