"""What a user did wrong, in one sentence: where, what was expected, what to do. Exit code 2."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake of the user's; the command line prints it without a traceback."""

    exit_code = 2

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences: Sequence[str] = sentences


def at(file: object, line: int | None = None, key: str = "") -> str:
    """The place a sentence starts with: FILE:LINE: key."""
    place = f"{file}:{line}" if line else str(file)
    return f"{place}: {key}" if key else f"{place}:"
