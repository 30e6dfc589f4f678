"""Claims on thirds of the probes by what was known of them before training."""

import numpy
import pytest
from pydantic import ValidationError

from gatebench.bench.analysis.claims import judge
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
        ({"strata": "ches", "metric": "generation_pass_rate"}, "strata are thirds of the probes, and generation_pass"),
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
