"""Every command's help ends with an example that the command line takes."""

import shlex

import pytest
import typer

from gatebench.bench.cli.app import COMMANDS, EXAMPLES, app


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_is_one(name):
    command = typer.main.get_command(app).commands[name]
    program, own, *arguments = shlex.split(EXAMPLES[name].split(">")[0])
    assert (program, own) == ("bench", name)
    command.make_context(name, arguments)
    assert EXAMPLES[name] in command.epilog
