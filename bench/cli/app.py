"""The command line. Heavy imports happen inside the commands, so that --help is immediate.

Exit codes: 0 success, 1 a cell failed, 2 a user's mistake. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from gatebench.bench.cli.commands.compare import compare_command
from gatebench.bench.cli.commands.doctor import doctor_command
from gatebench.bench.cli.commands.export import export_command
from gatebench.bench.cli.commands.gc import gc_command
from gatebench.bench.cli.commands.init import init_command
from gatebench.bench.cli.commands.ls import ls_command
from gatebench.bench.cli.commands.perf import perf_command
from gatebench.bench.cli.commands.plan import plan_command
from gatebench.bench.cli.commands.report import report_command
from gatebench.bench.cli.commands.run import run_command
from gatebench.bench.cli.commands.samples import samples_command
from gatebench.bench.cli.commands.schema import schema_command
from gatebench.bench.cli.commands.store.ls import store_ls_command
from gatebench.bench.cli.commands.store.pull import pull_command
from gatebench.bench.cli.commands.store.push import push_command
from gatebench.bench.cli.commands.tune import tune_command
from gatebench.bench.cli.commands.ui import ui_command
from gatebench.bench.cli.commands.vote import vote_command
from gatebench.bench.console import harmless
from gatebench.bench.errors import UserError, sentence_of
from gatebench.bench.secrets import without_secrets

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {  # in the order of --help, each with an example
    "run": (run_command, "bench run scale_vs_gate --profile quick"),
    "init": (init_command, "bench init mine.yaml --data pairs.jsonl"),
    "plan": (plan_command, "bench plan scale_vs_gate --profile llm --hardware 8xh100"),
    "tune": (tune_command, "bench tune scale_vs_gate --profile quick"),
    "report": (report_command, "bench report scale_vs_gate --profile quick"),
    "ls": (ls_command, "bench ls cells scale_vs_gate"),
    "compare": (compare_command, "bench compare results/runs/mine/RUN results/runs/mine/ANOTHER"),
    "samples": (samples_command, "bench samples scale_vs_gate 3 --profile quick"),
    "vote": (vote_command, "bench vote mine.yaml --rater anna"),
    "export": (export_command, "bench export neox-1.3m/toolbox/dpo/seq/0 --to my-model"),
    "ui": (ui_command, "bench ui scale_vs_gate --profile quick --open"),
    "store push": (push_command, "bench store push s3://bucket/results --suite scale_vs_gate"),
    "store pull": (pull_command, "bench store pull s3://bucket/results"),
    "store ls": (store_ls_command, "bench store ls results"),
    "gc": (gc_command, "bench gc mine.yaml scale_vs_gate --delete"),
    "doctor": (doctor_command, "bench doctor"),
    "perf": (perf_command, "bench perf step --model llama-1.3m"),
    "schema": (schema_command, "bench schema > suite.schema.json"),
}
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="What did the gate change, on which objective, at which scale, and how sure are we?",
    epilog=f"To begin, on any machine and without a download: {COMMANDS['run'][1]}",
)  # fmt: skip
_groups = {"": app, "store": typer.Typer(no_args_is_help=True, help="Carry finished stages and runs between machines.")}
app.add_typer(_groups["store"], name="store")
for _name, (_function, _example) in COMMANDS.items():
    _group, _, _own = _name.rpartition(" ")
    _groups[_group].command(_own, epilog=f"Example: {_example}")(_function)


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
