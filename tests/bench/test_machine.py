"""What the machine offers, divided."""

import pytest

from gatebench.bench.machine import divided


@pytest.mark.parametrize(
    ("cores", "gigabytes", "at_once", "expected"),
    [
        (2, 24, None, (2, 1)),
        (64, 256, 96, (64, 1)),
        (64, 256, 16, (16, 4)),  # no more cells: the cores left over are threads
        (16, 16, 96, (10, 1)),  # no more memory
        (16, 6, 96, (4, 4)),
        (4, 1, None, (1, 4)),
        (3, 24, 2, (2, 1)),
    ],
)
def test_cores_are_divided_by_what_can_run_at_once(cores, gigabytes, at_once, expected):
    assert divided(cores, gigabytes * 10**9, at_once) == expected
