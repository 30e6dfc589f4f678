"""What runs as code in a suite's own task files of lm-eval, and the word by which a suite allows it.

`!function` in a task file runs Python beside it, and the templates of a task file are rendered without a sandbox
(lm_eval/tasks/_yaml_loader.py, lm_eval/utils.py): who writes a task file can do whatever the user of `bench` can.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gatebench.bench.console import harmless
from gatebench.bench.plan.graph import Sources

PLACE = "evaluate.lm_eval.include_path"
CONFIRM = "confirm_run_unsafe_code"  # lm-eval's own word


def why_unconfirmed(folder: str) -> str:
    """The sentence, without its place, for a folder of task files that a suite names without the word."""
    _, functions = _read(folder)
    reason = (
        f"{functions[0]} has !function, which runs Python of that folder" if functions else
        "the templates of a task file can run code"
    )  # fmt: skip
    return f"{reason}; read its files, and if you trust them say so beside include_path with {CONFIRM}: true"


def code_cautions(sources: Sources) -> list[str]:
    """A sentence where task files of the user's own will run."""
    folder = sources.tasks.include_path if sources.tasks else None
    if folder is None:
        return []
    number, functions = _read(folder)
    files = f"{number} file{'' if number == 1 else 's'}, {len(functions)} with !function"
    return [f"{PLACE}: the task files of {folder} run as code of yours ({files})"]


@cache
def _read(folder: str) -> tuple[int, list[str]]:
    """How many task files, and those that they include, a folder has; FILE:LINE of each one's first `!function`."""
    files = sorted(file for file in Path(folder).rglob("*yaml*") if file.is_file())
    found: list[str] = []
    for file in files:
        lines = file.read_bytes().splitlines()
        first = (n for n, line in enumerate(lines, 1) if b"!function" in line and not line.lstrip().startswith(b"#"))
        found += [harmless(f"{file}:{number}") for number in first][:1]
    return len(files), found
