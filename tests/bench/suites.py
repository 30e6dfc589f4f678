"""The names of tests/helpers.py, until the last test asks there."""

from tests.helpers import CLAIM, GOOD, write

__all__ = ["CLAIM", "GOOD", "write"]
