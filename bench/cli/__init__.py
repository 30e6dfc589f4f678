"""The command line's entry point; everything else waits until it is known that the harness is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec

# what of the extra `bench` no library of the light core brings along, and typer, without which nothing can be said
TELLING = ("typer", "pydantic", "mlflow", "optuna", "lm_eval", "plotly")


def main() -> None:
    """`bench`, `gatebench` and `python -m gatebench`; exit code 2 without the harness."""
    missing = [name for name in TELLING if find_spec(name) is None]
    if missing:
        print(f"bench: the harness is not installed (no {', '.join(missing)}); pip install 'gatebench[bench]'",
              file=sys.stderr)  # fmt: skip
        sys.exit(2)
    from gatebench.bench.cli.app import command_line

    command_line()
