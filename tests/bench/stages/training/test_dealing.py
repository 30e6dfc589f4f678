"""Batches shared out over processes."""

import pytest

from gatebench.bench.errors import StageFailed
from gatebench.bench.stages.training.dealing import Dealt, check_even
from gatebench.bench.stages.training.team import Team


@pytest.mark.parametrize(("rows", "batch", "devices", "micro"), [
    (24, 8, 2, 4), (28, 8, 2, 2), (12, 8, 4, 1), (6, 8, 2, 2), (10, 8, 2, 4), (8, 8, 8, 1),
])  # fmt: skip
def test_every_step_takes_the_rows_of_one_device_in_equal_parts(rows, batch, devices, micro):
    order = [(7 * place) % rows for place in range(rows)] if rows % 7 else list(range(rows))
    dealt = list(Dealt(order, rows, batch, Team(devices, 0, False, micro)))
    assert len(dealt) == len(Dealt(order, rows, batch, Team(devices, 0, False, micro)))
    assert [place for part in dealt for place in part] == order
    assert len(dealt) % devices == 0
    for turn in range(0, len(dealt), devices):
        sizes = {len(part) for part in dealt[turn : turn + devices]}
        assert len(sizes) == 1
        assert 0 < sizes.pop() <= micro
    full = batch // (devices * micro) * devices
    steps = [sum(map(len, dealt[start : start + full])) for start in range(0, len(dealt), full)]
    assert steps == [batch] * (rows // batch) + [rows % batch] * (rows % batch > 0)


def test_a_last_batch_that_does_not_divide_is_refused_where_it_is_met():
    check_even(25, 8, 3, 2)
    check_even(24, 8, None, 2)
    with pytest.raises(StageFailed, match="25 rows cannot be shared out evenly over 2 devices"):
        check_even(25, 8, 4, 2)
    with pytest.raises(StageFailed, match="1 would be left"):
        check_even(25, 8, None, 2)
