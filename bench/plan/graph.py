"""What a plan is: cells, the stages they share as nodes by key, and the content they stand on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

from gatebench.bench import keys
from gatebench.bench.data.source import HUB, DataSource
from gatebench.bench.models.source import ModelSource
from gatebench.bench.stages import implicit_reward, judge, lm_eval
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.stages.stage import library_versions
from gatebench.bench.suite.claims import Claim

CELL_AXES = ("model", "dataset", "objective", "loss", "warmup", "gate", "seed")
POINT_AXES = ("model", "dataset", "objective", "gate")  # tell cells apart but for the seed; the rest follows from them
NAME_AXES = (*POINT_AXES, "seed")

Where: TypeAlias = Mapping[str, object]  # axis -> the value, or the list of values, that a cell has to have
Point: TypeAlias = tuple[str, str, str, str]  # values of POINT_AXES


class Axes(TypedDict):
    """What tells a cell from the others: CELL_AXES."""

    model: str
    dataset: str
    objective: str
    loss: str
    warmup: str
    gate: str
    seed: int


@dataclass(frozen=True)
class Node:
    """One stage to have: its parameters and the keys of its inputs by role, in order of the roles."""

    kind: str
    spec: Any  # of as many types as there are kinds
    inputs: tuple[tuple[str, str, str], ...]  # (role, kind, key)
    key: str

    def of(self, spec: object) -> Node:
        """The same stage with other parameters."""
        return Node(self.kind, spec, self.inputs, keys.digest_of_json(identity(self.kind, spec, self.inputs)))


@dataclass(frozen=True)
class Cell:
    """One point of the cross product and the stages that make it, by kind. gate: its name; gated: by its kind."""

    id: str
    model: str
    dataset: str
    objective: str
    loss: str
    warmup: str
    gate: str
    seed: int
    stages: Mapping[str, str]
    gated: bool = True

    @property
    def place(self) -> tuple[str | int, ...]:
        """Its values of CELL_AXES."""
        return self.model, self.dataset, self.objective, self.loss, self.warmup, self.gate, self.seed

    def axes(self) -> Axes:
        return {
            "model": self.model, "dataset": self.dataset, "objective": self.objective, "loss": self.loss,
            "warmup": self.warmup, "gate": self.gate, "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Plan:
    """Compared by identity, so that what is worked out of one can be kept. cells in the order of the suite; nodes by
    key, inputs before what needs them; claims to be judged at the end.

    tuned_on: how many of the first probes of training prompts are left out of every figure; left_out: cells of the
    suite that this plan is not to make (--only); varied: what differs between its seeds, as a sentence; remedies: the
    suite's.
    """

    suite: str
    cells: tuple[Cell, ...]
    nodes: Mapping[str, Node]
    claims: tuple[Claim, ...] = ()
    tuned_on: int = 0
    left_out: tuple[Axes, ...] = ()
    varied: str = ""
    remedies: Mapping[str, Where] = field(default_factory=dict)

    @property
    def planned(self) -> list[Axes]:
        """The axes of all cells of the suite, those that this plan is not to make among them."""
        return [*(cell.axes() for cell in self.cells), *self.left_out]

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """(kind, key) of every stage, as a store knows them."""
        return [(node.kind, key) for key, node in self.nodes.items()]

    @property
    def inputs(self) -> dict[str, list[str]]:
        """The keys that each stage rests on."""
        return {key: [needed for _, _, needed in node.inputs] for key, node in self.nodes.items()}

    @property
    def at_once(self) -> int:
        """How many stages can run at the same time at most: those of the most frequent kind."""
        return max(Counter(node.kind for node in self.nodes.values()).values(), default=1)

    def keys_of(self, cell: Cell) -> set[str]:
        """The keys of every stage the cell rests on."""
        wanted, pending = set[str](), list(cell.stages.values())
        while pending:
            key = pending.pop()
            if key not in wanted:
                wanted.add(key)
                pending += [key for _, _, key in self.nodes[key].inputs]
        return wanted

    def needed_by(self, cell: Cell) -> list[Node]:
        """Every stage the cell rests on, in order."""
        wanted = self.keys_of(cell)
        return [node for key, node in self.nodes.items() if key in wanted]


def identity(
    kind: str,
    spec: object,
    inputs: tuple[tuple[str, str, str], ...],
    libraries: Mapping[str, str] | None = None,
    memo: keys.Memo | None = None,
) -> dict[str, keys.Json]:
    """Everything that a stage's key is the hash of, in canonical form; the manifest keeps it."""
    return {
        "kind": kind, "version": stage_of(kind).version, "spec": keys.canonical(spec, memo),
        "inputs": {role: key for role, _, key in inputs}, "libraries": libraries or library_versions(),
    }  # fmt: skip


@dataclass(frozen=True)
class Questions:
    """A file of questions to be answered, and the digest of what it holds."""

    path: str
    content: str


@dataclass(frozen=True)
class Sources:
    """The suite's models and data sets by name, its lm-eval tasks, its judge, its questions and its file for rewards,
    resolved to content."""

    models: Mapping[str, ModelSource]
    datasets: Mapping[str, DataSource]
    tasks: lm_eval.Spec | None = None
    judge: judge.Spec | None = None
    questions: Questions | None = None
    rewards: implicit_reward.Spec | None = None

    def unpinned(self) -> list[str]:
        """One sentence where a hub name without a revision leaves content open."""
        hub: list[ModelSource | DataSource] = [*self.models.values(), *self.datasets.values()]
        found = [source.path for source in hub if source.content.startswith(HUB) and source.revision is None]
        if not found:
            return []
        return [f"not pinned, so a change on the hub would go unnoticed: {', '.join(found)}; give each a revision"]


def point_of(axes: Axes) -> Point:
    return axes["model"], axes["dataset"], axes["objective"], axes["gate"]


def cell_name(axes: Axes) -> str:
    """The name by which a cell of a suite goes."""
    return "/".join((*point_of(axes), str(axes["seed"])))


def matches(where: Where, axes: Where) -> bool:
    """Whether a cell has one of the wanted values on every axis that `where` names."""
    return all(axes[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in where.items())
