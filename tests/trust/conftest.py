"""One finished suite for all that is done to finished suites."""

import pytest

from tests.helpers import once
from tests.trust.made import make


@pytest.fixture(scope="session")
def finished(shared):
    """Its folder: to be read, or copied."""
    return once(shared / "trust", make)
