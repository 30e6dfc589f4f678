"""The command line. Heavy imports happen inside the commands, so that --help is immediate.

Exit codes: 0 success, 1 a cell failed, 2 a user's mistake. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from gatebench.bench.cli.commands.compare import compare_command
from gatebench.bench.cli.commands.export import export_command
from gatebench.bench.cli.commands.gc import gc_command
from gatebench.bench.cli.commands.perf import perf_command
from gatebench.bench.cli.commands.plan import plan_command
from gatebench.bench.cli.commands.report import report_command
from gatebench.bench.cli.commands.run import run_command
from gatebench.bench.cli.commands.samples import samples_command
from gatebench.bench.cli.commands.schema import schema_command
from gatebench.bench.cli.commands.tune import tune_command
from gatebench.bench.cli.commands.ui import ui_command
from gatebench.bench.cli.commands.vote import vote_command
from gatebench.bench.console import harmless
from gatebench.bench.errors import UserError, sentence_of
from gatebench.bench.secrets import without_secrets

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=(
    "What did the gate change, on which objective, at which scale, and how sure are we?"
))  # fmt: skip
COMMANDS: dict[str, Callable[..., None]] = {  # in the order of --help
    "run": run_command,
    "tune": tune_command,
    "plan": plan_command,
    "gc": gc_command,
    "report": report_command,
    "compare": compare_command,
    "ui": ui_command,
    "samples": samples_command,
    "vote": vote_command,
    "export": export_command,
    "perf": perf_command,
    "schema": schema_command,
}
for _name, _function in COMMANDS.items():
    app.command(_name)(_function)


def command_line() -> None:
    """Run what was typed; a user's mistake is printed as its sentences, exit code 2."""
    try:
        app()
    except UserError as error:
        for sentence in error.sentences:
            print(harmless(without_secrets(sentence)), file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        told = sentence_of(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        sys.exit(1)
