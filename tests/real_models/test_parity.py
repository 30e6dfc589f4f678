"""SmolLM2 and Gemma 3 from their wheels: every number that is measured is the one that plain transformers gives."""

import pytest

from tests.needs import REAL_MODELS
from tests.real_models.parity import measure

pytestmark = [pytest.mark.wheels, pytest.mark.hh, pytest.mark.slow]


@pytest.mark.parametrize("model", REAL_MODELS)
def test_what_is_measured_is_what_plain_transformers_gives(model, tmp_path):
    found = measure(model, tmp_path)
    assert found.responses == 12
    assert found.bos == (model == "gemma")
    assert max(found.reference, found.dynamics) < 1e-4  # nats a token
    assert found.loss < 1e-4
    assert found.layouts < 1e-3  # nats a response
    assert found.weights < 0.02
