"""`bench schema`: what a suite file may hold, for editors."""

from __future__ import annotations

from gatebench.bench.console import print_json


def schema_command() -> None:
    """Print the JSON Schema of the suite file, for editors."""
    from gatebench.bench.suite.schema import Suite

    print_json(Suite.model_json_schema())
