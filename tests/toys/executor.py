"""A toy executor, in one file: stages run one after another in this process."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gatebench.bench.errors import StageFailed
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
        started = time.monotonic()
        try:
            facts = self.run_of(node.kind)(
                node.spec, inputs, place, lambda share, text: told.append(Progressed(node, share, text))
            )
        except Exception as error:
            shutil.rmtree(place)
            sentence = str(error) if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"
            told.append(Failed(node, Failure(node.kind, node.key, sentence)))
        else:
            told.append(Made(node, place, {**facts, "seconds": time.monotonic() - started, "peak_memory": 0}))
        yield from told

    def close(self) -> None:
        self.waiting = []


EXECUTOR = ExecutorKind("in_process", InProcess)
