"""Whether what a plan trains on several devices can be shared out over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gatebench.bench.plan.graph import Cell, Node
from gatebench.bench.stages.training.dealing import uneven
from gatebench.objectives.gates import RC


def not_shareable(cells: Iterable[Cell], nodes: Mapping[str, Node]) -> list[str]:
    """A sentence for each recipe and model whose batches do not divide, and for what needs a whole model."""
    return list(dict.fromkeys(sentence for cell in cells for sentence in _of_cell(cell, nodes)))


def _of_cell(cell: Cell, nodes: Mapping[str, Node]) -> Iterator[str]:
    spec = nodes[cell.stages["train"]].spec
    if spec.spread is None:
        return
    devices, over = spec.spread.devices, f"the {spec.spread.devices} devices of model {cell.model}"
    recipes = {kind: nodes[key].spec.recipe for kind, key in cell.stages.items() if kind in ("warmup", "train")}
    for kind, recipe in recipes.items():
        if recipe.batch_size % devices:
            yield (
                f"{kind}.batch_size: {recipe.batch_size} pairs cannot be shared out evenly over {over}; write a "
                f"multiple of {devices}"
            )
    own, micro = spec.recipe.batch_size // devices, spec.recipe.micro_batch_size
    if micro and spec.recipe.batch_size % devices == 0 and own % micro:
        yield f"train.micro_batch_size: {micro} does not divide the {own} pairs of a batch that each of {over} has"
    if spec.spread.strategy == "fsdp" and spec.gate.kind == RC and spec.gate.value is None:
        yield f"gate rc needs the whole head on every device, and model {cell.model} shares it out; write strategy: ddp"


def uneven_ends(cells: Iterable[Cell], nodes: Mapping[str, Node], pairs: int) -> Iterator[str]:
    """A sentence for each training that meets the end of so many pairs with a batch that its devices cannot share."""
    for cell in cells:
        train = nodes[cell.stages["train"]].spec
        if train.spread is None:
            continue
        devices = train.spread.devices
        found = [uneven(pairs, train.recipe.batch_size, train.recipe.steps, devices)]
        if "warmup" in cell.stages:
            warm = nodes[cell.stages["warmup"]].spec
            rows = min(pairs, warm.recipe.pairs or pairs) * (2 if warm.kind == "extended_sft" else 1)
            found.append(uneven(rows, warm.recipe.batch_size, None, devices))
        yield from (f"model {cell.model}, data set {cell.dataset}: {sentence}" for sentence in found if sentence)
