"""What is known of a study and its trials: its task, and the words under which Optuna keeps what a trial found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.plan.graph import Plan, Sources
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.secrets import without_secrets
from gatebench.bench.suite.schema import GateAxis, Suite
from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.space import Parameters, tuned_point
from gatebench.objectives.gates import UNGATED

# A trial's attributes in its study.
PARAMETERS, MEASURED, CONSTRAINTS, SAME_AS, SURPLUS, REASON = (
    "parameters", "metrics", "constraints", "same_as", "surplus", "reason",
)  # fmt: skip
RUNG = "rung "  # an attribute of that name and a step: the trial's metrics there


@dataclass(frozen=True)
class Task:
    """What a study searches and where it keeps things; a worker process gets one."""

    suite: Suite
    tune: Tune
    sources: Sources
    store: Path
    name: str
    storage: str

    @property
    def shown(self) -> str:
        """The storage as it may be told."""
        return without_secrets(self.storage)

    @property
    def tuned_on(self) -> int:
        """How many of the first probes trials are judged on; the winner is judged on the others."""
        probes = self.suite.evaluate.dynamics.probes
        return min(self.tune.probes or probes // 2, probes - 1)

    def shared(self) -> Plan:
        """The point's stages that all trials rest on: no training, and the probes at step 0 alone."""
        gates = [GateAxis(kind=UNGATED)]
        if self.tune.over == "gates":  # of which any is measured on the reference, where the loss reads none too
            gates.append(GateAxis(kind="seq"))
        point = tuned_point(self.suite, self.tune)
        plan = make_plan(point.model_copy(update={"gates": gates, "seeds": self.tune.seeds[:1]}), self.sources)
        own = {key: node for key, node in plan.nodes.items()
               if node.kind != "train" and "train" not in {role for role, _, _ in node.inputs}}  # fmt: skip
        return Plan(plan.suite, (), own)


@dataclass(frozen=True)
class Winner:
    """The trial that is recommended: of the front, the one nearest to the best of every metric."""

    number: int
    parameters: Parameters
    metrics: Mapping[str, float]
    feasible: bool


@dataclass(frozen=True)
class Counts:
    """Trials of a study by what became of them, and the seconds that finished ones took their workers in all."""

    complete: int
    pruned: int
    running: int
    waiting: int
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.complete + self.pruned


@dataclass(frozen=True)
class Searched:
    """A study at its end. front: (trial number, parameters, metrics) of what no other trial beats."""

    name: str
    storage: str
    maximize: tuple[str, ...]
    counts: Counts
    best: Winner
    front: tuple[tuple[int, Parameters, Mapping[str, float]], ...]
