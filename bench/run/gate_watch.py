"""Gates that their thresholds shut, or make a constant: told when the reference is scored, before any training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from gatebench.bench.executors.api import Elsewhere, Event, Finished
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.reference import REFERENCE_FILE
from gatebench.bench.stages.training.rows import rejected_probabilities
from gatebench.bench.store.sending import arrived_among
from gatebench.bench.store.store import Store
from gatebench.objectives import gates
from gatebench.objectives.gate_fit import constant_caution
from gatebench.objectives.gates import Gate

if TYPE_CHECKING:
    import torch

REFERENCE = "reference"  # the kind of stage, and the role in which a training reads it


class GateWatch:
    """Listens to a run. say: prints a caution.

    Of trainings that are still to be made alone: what was said of a finished one stands in its manifest.
    """

    def __init__(self, plan: Plan, store: Store, say: Callable[[str], object]) -> None:
        self._store, self._say = store, say
        finished = arrived_among(store, plan.addresses)
        self._models = {key: f"{cell.model} on {cell.dataset}" for cell in plan.cells for key in cell.stages.values()}
        self._gates: dict[str, dict[Gate, None]] = {}  # by the key of the reference they are measured on, each once
        for key, node in plan.nodes.items():
            scored = next((i for role, _, i in node.inputs if role == REFERENCE), None)
            if node.kind == "train" and key not in finished and scored and node.spec.gate.compares:
                self._gates.setdefault(scored, {})[node.spec.gate.source] = None
        self._told = set[tuple[str, Gate]]()  # other seeds have nearly the same numbers
        self._scored = [key for key in self._gates if key in finished]

    def __enter__(self) -> GateWatch:
        for key in self._scored:
            self._tell(key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished | Elsewhere) and event.node.key in self._gates:
            self._tell(event.node.key)

    def _tell(self, key: str) -> None:
        for gate, sentence in self._sentences(key):
            if (self._models[key], gate) not in self._told:
                self._told.add((self._models[key], gate))
                self._say(f"{self._models[key]}: {sentence}")

    def _sentences(self, key: str) -> Iterator[tuple[Gate, str]]:
        import pandas

        try:
            scored = pandas.read_parquet(self._store.path(REFERENCE, key) / REFERENCE_FILE, columns=["rejected"])
        except OSError:  # the trainings that read it say what is wrong with it
            return
        measured: dict[str, torch.Tensor] = {}
        for gate in self._gates[key]:
            if gate.kind not in measured:
                measured[gate.kind] = rejected_probabilities(gate.kind, scored["rejected"])
            try:
                found = constant_caution(gates.resolve_thresholds(gate, measured[gate.kind]), measured[gate.kind])
            except ValueError as error:  # which will end its trainings
                found = str(error)
            if found:
                yield gate, found
