"""The support that is kept and the calibration of the next token: by hand, and as a suite measures them."""

import numpy
import pandas
import pytest
import torch

from gatebench.bench.metrics.calibration import GAPS
from gatebench.bench.stages.probing import PROBES, confidence
from gatebench.objectives.layout.scoring import Scored
from tests.helpers import GATED_DPO, plan_of, run_stage

SUITE = GATED_DPO.replace("probes: 6", "probes: 6, confidence: true")


def test_by_hand():
    """Ten words: two tokens of one response and one of another, with the likeliest word right, wrong and right."""
    p = torch.full((3, 10), 0.01)
    p[0, 2], p[1, 3], p[2, 4] = 0.91, 0.91, 0.5
    p[2, 5] = 0.42  # the second likeliest
    began = torch.full((3, 10), 0.1)
    began[:, 8:] = 0.02  # outside the eight
    began[:, :8] = 0.12
    targets = torch.tensor([2, 0, 4])
    scored = Scored([(0, 0), (1, 0)], torch.tensor([0, 0, 1]), targets, p.log())
    found = {name: values.tolist() for name, values in confidence(scored, p.log(), began.log()).items()}
    assert found["support"] == pytest.approx([0.98, 0.98])
    full = {name: values for name, values in found.items() if name.startswith("gap") and any(values)}
    assert full.keys() == {"gap_14", "gap_8"}  # 0.91 in (13/15, 14/15], 0.5 in (7/15, 8/15]
    assert full["gap_14"] == pytest.approx([0.91 * 2 - 1, 0.0])
    assert full["gap_8"] == pytest.approx([0.0, 0.5 - 1])


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["final", "all"])
def test_it_is_measured_at_every_step_of_a_training_and_of_its_checkpoints(tmp_path, keep):
    plan = plan_of(tmp_path, SUITE, **{"train.keep": keep})
    for node in plan.nodes.values():
        run_stage(node, tmp_path, tmp_path / node.key)
    (cell,) = plan.cells
    frame = pandas.read_parquet(tmp_path / cell.stages["dynamics"] / PROBES)
    chosen = frame[frame["kind"] == "chosen"]
    assert set(chosen["step"]) == {0, 2, 4}
    assert ((chosen["support"] > 0) & (chosen["support"] <= 1)).all()
    # over all bins: the confidence summed minus the number of right guesses; where the likeliest token is not the
    # target its mass is mass_top1, so what is left of the sum is that of right guesses minus their number
    wrong = chosen["mass_top1"] * chosen["tokens"]
    assert (chosen[list(GAPS)].sum(axis=1) <= wrong + 1e-6).all()
    assert frame[frame["kind"] != "chosen"][["support", *GAPS]].isna().all().all()
    start = chosen[chosen["step"] == 0].set_index(["split", "prompt"])["support"]
    moved = chosen[chosen["step"] == 4].set_index(["split", "prompt"])["support"]
    assert not numpy.allclose(start, moved)


def test_it_moves_no_key_of_a_suite_that_does_not_ask_for_it(tmp_path):
    before, after = plan_of(tmp_path, GATED_DPO), plan_of(tmp_path, SUITE)
    shared = {node.kind for key, node in before.nodes.items() if key in after.nodes}
    assert shared == {"base", "warmup", "reference"}
    assert plan_of(tmp_path, GATED_DPO.replace("probes: 6", "probes: 6, confidence: false")).nodes.keys() == (
        before.nodes.keys()
    )
