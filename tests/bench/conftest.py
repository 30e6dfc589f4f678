"""What tests of several rooms of the harness set."""

import pytest


@pytest.fixture
def impatient(monkeypatch):
    """A judge that did not answer is asked again at once."""
    monkeypatch.setattr("gatebench.bench.judges.endpoint.RETRY_PAUSE", 0.01)
