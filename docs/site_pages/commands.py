"""Every command with its arguments, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.core import TyperArgument

from gatebench.bench.cli.app import COMMANDS, app
from site_pages.markdown import code, table


def commands_reference() -> str:
    parts: list[str] = []
    for name in COMMANDS:
        command = typer.main.get_command(app)
        for word in name.split():
            command = command.commands[word]
        rows = [(", ".join(map(code, _written(own))), own.help or "") for own in command.params]
        parts += [f"## bench {name}", str(command.help), f"```bash\n{COMMANDS[name][1]}\n```"]
        parts += [table(("argument", "what it does"), rows)] if rows else []
    return "\n\n".join(parts)


def _written(own: object) -> Iterator[str]:
    """How an argument or option is typed."""
    if isinstance(own, TyperArgument):
        yield own.metavar or str(own.name).upper()
        return
    for option in own.opts:
        yield option if own.is_flag else f"{option} {own.metavar or str(own.name).upper()}"
