"""Forward passes over prompts and their responses, in batches of similar length, one row a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from objectives import branches

if TYPE_CHECKING:
    from torch import Tensor

POSITIONS_A_BATCH = 8192


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in groups of similar length whose padded size stays within POSITIONS_A_BATCH."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or lengths[index] * (len(groups[-1]) + 1) > POSITIONS_A_BATCH:
            groups.append([])
        groups[-1].append(index)
    return groups


def response_logits(
    model: Any, prompts: Sequence[list[int]], responses: Sequence[Sequence[list[int]]]
) -> tuple[branches.Branches, Tensor]:
    """The layout of some prompts and the logits [N, V] at their response tokens.

    An architecture without the one-row layout is given one row a response instead.
    """
    if branches.supports(model):
        rows = branches.lay_out(prompts, responses).to(model.device)
        return rows, branches.response_logits(model, rows)
    flat = [(prompt, [tokens]) for prompt, own in zip(prompts, responses, strict=True) for tokens in own]
    rows = branches.lay_out([prompt for prompt, _ in flat], [tokens for _, tokens in flat]).to(model.device)
    # one branch a row is an ordinary causal row: the 2-D mask of real positions says it all
    hidden = getattr(model, model.base_model_prefix)(
        input_ids=rows.input_ids, attention_mask=(rows.segments >= 0).long(), use_cache=False
    ).last_hidden_state
    logits = model.get_output_embeddings()(hidden.flatten(0, 1).index_select(0, rows.places))
    return rows, logits.float()


def each_batch(
    model: Any, prompts: Sequence[list[int]], responses: Sequence[Sequence[list[int]]]
) -> Iterator[tuple[list[int], branches.Branches, Tensor]]:
    """(indices of the prompts, layout, logits) for all prompts, shortest first."""
    lengths = [len(p) + sum(map(len, own)) for p, own in zip(prompts, responses, strict=True)]
    for group in batches(lengths):
        rows, logits = response_logits(model, [prompts[i] for i in group], [responses[i] for i in group])
        yield group, rows, logits
