"""What every loss, gate, stage, executor, judge and metric has to keep, as classes that a package's tests can subclass.

    from tests.conformance.loss import LossConformance

    class TestMine(LossConformance):
        @pytest.fixture
        def loss(self): return LOSS

Each names the fixtures that it needs in its docstring; the tests beside them run over all that is built in and over the
toys of `tests/toys`.
Nothing heavy is imported here: processes that an executor starts come by.
"""

import pytest

pytest.register_assert_rewrite(*(
    f"{__name__}.{kind}" for kind in ("loss", "gate", "stage", "executor", "judge", "metric")
))  # fmt: skip
