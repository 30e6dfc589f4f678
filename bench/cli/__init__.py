"""The command line's entry point; everything else waits until it is known that the harness is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """`bench`: a user's mistake is printed as its sentences, exit code 2."""
    if find_spec("typer") is None or find_spec("pydantic") is None:
        print("bench: the harness is not installed; pip install 'gatebench[bench]'", file=sys.stderr)
        sys.exit(2)
    from gatebench.bench.cli.app import main as command_line

    command_line()
