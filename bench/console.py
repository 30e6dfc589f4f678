"""What reaches the terminal: results on stdout, sentences on stderr, text never read as markup."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OF_A_PIPE = 160  # columns; a pipe has none of its own, and a table must not be cut to 80 there
UNKNOWN_TIME = "?"  # in place of a duration that nothing tells
CONTROL_CODES = (*range(0x20), 0x7F, *range(0x80, 0xA0))
PICTURES = {code: chr(0x2400 + code) if code < 0x20 else "\ufffd" for code in CONTROL_CODES if chr(code) not in "\n\t"}


class Plain(TypedDict):
    """What makes rich's `print` leave a text as it is."""

    highlight: bool
    markup: bool
    emoji: bool
    soft_wrap: bool


PLAIN: Plain = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


def harmless(text: str) -> str:
    """A text whose control characters are pictures: what a model says must not colour or clear the terminal."""
    return text.translate(PICTURES)


def duration(seconds: float | None) -> str:
    """Seconds as a reader would say them; UNKNOWN_TIME where nothing like it was timed."""
    if seconds is None:
        return UNKNOWN_TIME
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def results_console(stderr: bool = False) -> Console:
    """stdout, or stderr where that is taken."""
    from rich.console import Console

    return Console(stderr=stderr, width=None if (sys.stderr if stderr else sys.stdout).isatty() else WIDTH_OF_A_PIPE)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))
