"""What a user did wrong, in one sentence: where, what was expected, what to do. Exit code 2."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

ONE_LINE = {ord(end): "␤" for end in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}  # a name that is quoted may hold any


class UserError(Exception):
    """A mistake of the user's; the command line prints it without a traceback."""

    exit_code = 2

    def __init__(self, *sentences: str) -> None:
        self.sentences: Sequence[str] = tuple(sentence.translate(ONE_LINE) for sentence in sentences)
        super().__init__("\n".join(self.sentences))


class DiskFull(UserError):
    """Nothing more can be written; what is finished stays finished."""

    exit_code = 1

    def __init__(self, place: object) -> None:
        super().__init__(f"{place}: the disk is full; every finished stage is kept. Free some space and run again")


class StageFailed(Exception):
    """A stage that ran and cannot give a result: the sentence says at which step and why."""


class ProcessKilled(Exception):
    """A process of a stage is no more, and the stage with it; what is in its folder lets it go on from there."""


FULL = ("No space left on device", "database or disk is full")  # the system's words and sqlite's


def is_disk_full(error: BaseException) -> bool:
    """Whether a failure is the disk's, also where a library words it in its own way."""
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in FULL)


def sentence_of(error: OSError) -> str | None:
    """What a failing disk, a folder without rights or one that is gone comes to; None for what is of no file."""
    if is_disk_full(error):
        return str(DiskFull(error.filename or "results"))
    if error.filename is None:
        return None
    place = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place}: {error.strerror}; this needs a folder it may write to, which --results can name"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return f"{place}: {error.strerror}; something removed it while this command worked with it. Run it again"
    return f"{place}: {error.strerror}"


def at(file: object, line: int | None = None, key: str = "") -> str:
    """The place a sentence starts with: FILE:LINE: key."""
    place = f"{file}:{line}" if line else str(file)
    return f"{place}: {key}" if key else f"{place}:"
