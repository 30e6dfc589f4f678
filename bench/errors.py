"""What a user did wrong, in one sentence: where, what was expected, what to do. Exit code 2."""

from __future__ import annotations

import errno
from collections.abc import Sequence


class UserError(Exception):
    """A mistake of the user's; the command line prints it without a traceback."""

    exit_code = 2

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences: Sequence[str] = sentences


class DiskFull(UserError):
    """Nothing more can be written; what is finished stays finished."""

    exit_code = 1

    def __init__(self, place: object) -> None:
        super().__init__(f"{place}: the disk is full; every finished stage is kept. Free some space and run again")


class StageFailed(Exception):
    """A stage that ran and cannot give a result: the sentence says at which step and why."""


FULL = ("No space left on device", "database or disk is full")  # the system's words and sqlite's


def is_disk_full(error: BaseException) -> bool:
    """Whether a failure is the disk's, also where a library words it in its own way."""
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in FULL)


def at(file: object, line: int | None = None, key: str = "") -> str:
    """The place a sentence starts with: FILE:LINE: key."""
    place = f"{file}:{line}" if line else str(file)
    return f"{place}: {key}" if key else f"{place}:"
