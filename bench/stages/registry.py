"""The kinds of stages, in the order of the flow. A new one is its file, a line here, and its place in the planner."""

from __future__ import annotations

from importlib import import_module

from gatebench.bench.stages.stage import AnyStage, Run
from gatebench.objectives.names import UnknownWord

# Kind -> module with its STAGE, imported when it is asked for.
MODULES = {
    kind: f"gatebench.bench.stages.{kind}"
    for kind in "base warmup reference geometry train dynamics generate implicit_reward lm_eval judge".split()
}


def kinds() -> tuple[str, ...]:
    return tuple(MODULES)


def stage_of(kind: str) -> AnyStage:
    """All about a kind of stage; UnknownWord for one that is not there."""
    if kind not in MODULES:
        raise UnknownWord("stage", kind, MODULES)
    found: AnyStage = import_module(MODULES[kind]).STAGE
    return found


def run_of_kind(kind: str) -> Run:
    """What makes a stage of a kind."""
    return stage_of(kind).run
