"""bfloat16 as the type that training computes in does to the weights what float32 and stock TRL's autocast do."""

import pytest

from tests.parity.precision import rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    found = rows(folder, "builtin:ladder/neox-0.3m", "builtin:toolbox", tokens=20_000, warmup=4e-3, pairs=64, probes=8)
    return {row.name: row for row in found}


@pytest.mark.parametrize("other", ["harness, float32", "stock TRL, bf16=True, float32 weights"])
def test_bfloat16_moves_the_weights_and_the_chosen_response_as_far(trained, other):
    ours, theirs = trained["harness, bfloat16"], trained[other]
    assert ours.delta == pytest.approx(theirs.delta, rel=0.05)
    assert ours.update == pytest.approx(theirs.update, rel=0.01)
    assert ours.changed == pytest.approx(theirs.changed, abs=0.01)
    assert ours.changed > 0.6  # the rest belongs to tokens that do not occur


def test_weights_of_bfloat16_would_stay_where_they_are(trained):
    swallowed = trained["stock TRL, bf16=True, bfloat16 weights"]
    assert swallowed.changed < 0.1
    assert abs(swallowed.delta) < 0.5 * abs(trained["harness, bfloat16"].delta)
