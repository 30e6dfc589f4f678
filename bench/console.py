"""What reaches the terminal: results on stdout, sentences on stderr, text never read as markup."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PLAIN: Any = {"highlight": False, "markup": False, "soft_wrap": True}  # a sentence printed as it is
WIDTH_OF_A_PIPE = 160  # columns; a pipe has none of its own, and a table must not be cut to 80 there


def results_console(stderr: bool = False) -> Console:
    """stdout, or stderr where that is taken."""
    from rich.console import Console

    return Console(stderr=stderr, width=None if (sys.stderr if stderr else sys.stdout).isatty() else WIDTH_OF_A_PIPE)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))
