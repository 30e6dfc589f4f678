"""What a stage is: a frozen Spec, a VERSION and run(spec, inputs, out, report) -> facts.

inputs: role -> folder of a finished stage. out: the empty folder to write into. report(share, text): progress
in [0, 1]. The facts returned go into the manifest (tokens, dropped rows ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

Report = Callable[[float, str], None]
Facts = dict[str, Any]
KINDS = ("base", "warmup", "reference", "train", "dynamics", "generate", "lm_eval", "judge")
LIBRARIES = ("torch", "transformers", "trl")  # their versions change results, so they are in every key


class Run(Protocol):
    def __call__(self, spec: Any, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts: ...


def module_of(kind: str) -> ModuleType:
    """The module of a stage kind; its heavy imports happen inside run()."""
    return import_module(f"gatebench.bench.stages.{kind}")


def run_of_kind(kind: str) -> Run:
    """What makes a stage of a kind."""
    found: Run = module_of(kind).run
    return found


def library_versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@cache
def code_revision() -> str:
    """The package's version and, in a git checkout, its revision: for the record, not part of a key."""
    import subprocess

    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    if not (root / ".git").exists():
        return version("gatebench")
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return version("gatebench")
    return f"{version('gatebench')}+{found}"


class StageFailed(Exception):
    """A stage that ran and cannot give a result: the sentence says at which step and why."""
