"""A toy executor, in one file: stages run one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gatebench.bench.executors.api import ExecutorKind, Failed, Failure, Made, Progressed, Resources, Told
from gatebench.bench.plan.graph import Node
from gatebench.bench.stages.stage import Run


class InProcess:
    """Works while the loop asks for results."""

    def __init__(self, resources: Resources, run_of: Callable[[str], Run]) -> None:
        self.run_of = run_of
        self.waiting: list[tuple[Node, Path, Mapping[str, Path]]] = []

    def has_room(self) -> bool:
        return not self.waiting

    def start(self, node: Node, place: Path, inputs: Mapping[str, Path]) -> None:
        self.waiting.append((node, place, inputs))

    def results(self) -> Iterator[Told]:
        node, place, inputs = self.waiting.pop()
        told: list[Told] = []
        try:
            facts = self.run_of(node.kind)(
                node.spec, inputs, place, lambda share, text: told.append(Progressed(node, share, text))
            )
        except Exception as error:
            for left in place.iterdir():
                left.unlink()
            place.rmdir()
            yield from told
            yield Failed(node, Failure(node.kind, node.key, f"{type(error).__name__}: {error}"))
            return
        yield from told
        yield Made(node, place, {**facts, "seconds": 0.0, "peak_memory": 0})

    def close(self) -> None:
        self.waiting = []


EXECUTOR = ExecutorKind("in_process", InProcess)
