"""Which modules of a model an adapter is on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gatebench.objectives.names import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def wrong_targets(model: PreTrainedModel, targets: Sequence[str]) -> Iterator[str]:
    """A sentence for each target that is no linear layer of the backbone; peft leaves such a one out without a word
    where others are there, and the layouts read the head as it is without an adapter.

    By peft's rule a target is a module's name, or the end of it after a dot.
    """
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    ends = [model.get_output_embeddings(), model.get_input_embeddings()]
    layers = [(name, part) for name, part in model.named_modules() if name and part not in ends]
    fit = {name for name, part in layers if isinstance(part, Linear | Conv1D)}
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in fit):
            words = sorted({name.rpartition(".")[2] for name in fit})
            yield (
                f"adapter.targets: {type(model).__name__} has no linear layer {target!r} between its embeddings; "
                f"{nearest(target, words)}"
            )
