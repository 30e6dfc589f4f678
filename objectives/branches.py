"""One row for one prompt: the prompt once, then every response as a branch of it.

Row:       p1 ... p(n-1) | pn y1 ... y(m-1) | pn z1 ... z(k-1) | ...
Positions: 0 ... n-2     | n-1 n ...        | n-1 n ...        |

Each branch starts by repeating the last prompt token, so that it predicts the branch's first token; it
sees the prompt and itself (block mask) and its positions restart. The log-probs are those of one row a
response, with the prompt computed once and the LM head applied to response positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Architectures whose backbone takes a 4-D mask and whose logits are the plain head's output.
ARCHITECTURES = ("gpt_neox", "llama", "qwen2", "qwen3", "mistral")


@dataclass(frozen=True)
class Branches:
    """R rows of T positions with N response tokens in all; K branches a row.

    input_ids, position_ids: [R, T]; segments: [R, T], 0 prompt, 1 ... K branches, -1 padding
    places: [N] flat positions (row * T + column) that predict; targets: [N] the tokens they predict
    response: [N] the response a token belongs to (row * K + branch); offset: [N] its index in it
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    places: Tensor
    targets: Tensor
    response: Tensor
    offset: Tensor

    def to(self, device: torch.device) -> Branches:
        return Branches(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def mask(self, dtype: torch.dtype) -> Tensor:
        """`block_mask` of the segments."""
        return block_mask(self.segments, dtype)


def block_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask [R, 1, T, T] of segments [R, T]: 0 where a position may look, else the least number.

    A position sees its own segment and segment 0 as far as itself; padding (-1) sees padding.
    """
    own, other = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(own.shape[1], own.shape[1], dtype=torch.bool, device=own.device).tril()
    # padding sees itself: a row of the softmax without any place to look at would be NaN
    seen = causal & ((other == 0) | (other == own))
    blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=own.device)
    return torch.where(seen, torch.zeros((), dtype=dtype, device=own.device), blocked)[:, None]


def lay_out(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]) -> Branches:
    """Token ids of R prompts and of K responses to each -> one row a prompt.

    Raises ValueError for an empty prompt: nothing would predict the first response token.
    """
    rows: list[tuple[list[int], list[int], list[int]]] = []
    columns: list[list[int]] = []
    targets: list[int] = []
    response: list[int] = []
    offset: list[int] = []
    for r, (prompt, branches) in enumerate(zip(prompts, responses, strict=True)):
        if not prompt:
            raise ValueError(f"prompt {r} of the batch has no tokens")
        ids, segments = list(prompt[:-1]), [0] * (len(prompt) - 1)
        positions = list(range(len(prompt) - 1))
        places: list[int] = []
        for k, tokens in enumerate(branches):
            places += range(len(ids), len(ids) + len(tokens))
            if tokens:
                ids += [prompt[-1], *tokens[:-1]]
            segments += [k + 1] * len(tokens)
            positions += range(len(prompt) - 1, len(prompt) - 1 + len(tokens))
            targets += tokens
            response += [r * len(branches) + k] * len(tokens)
            offset += range(len(tokens))
        rows.append((ids, positions, segments))
        columns.append(places)
    width = max(1, max(len(ids) for ids, _, _ in rows))

    def padded(which: int, fill: int) -> Tensor:
        return torch.tensor([row[which] + [fill] * (width - len(row[which])) for row in rows])

    flat = [r * width + column for r, places in enumerate(columns) for column in places]
    vectors = (torch.tensor(values, dtype=torch.long) for values in (flat, targets, response, offset))
    return Branches(padded(0, 0), padded(1, 0), padded(2, -1), *vectors)


def micro_batches(lengths: Sequence[int], positions: int) -> list[list[int]]:
    """Rows by length, cut so that each part, padded to its longest row, has at most `positions`; one row at least.

    Which rows meet in a part changes no gradient: their losses are added.
    """
    parts: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if parts and (len(parts[-1]) + 1) * lengths[row] <= positions:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def supports(model: Any) -> bool:
    """Whether a transformers causal model can take this layout."""
    return model.config.model_type in ARCHITECTURES


def response_states(model: Any, branches: Branches) -> Tensor:
    """Last hidden states [N, H] at the response positions of a transformers causal model."""
    backbone = getattr(model, model.base_model_prefix)
    hidden = backbone(
        input_ids=branches.input_ids,
        attention_mask=branches.mask(backbone.dtype),
        position_ids=branches.position_ids,
        use_cache=False,
    ).last_hidden_state
    states: Tensor = hidden.flatten(0, 1).index_select(0, branches.places)
    return states


def response_logits(model: Any, branches: Branches) -> Tensor:
    """Logits [N, V] in float32 at the response positions of a transformers causal model."""
    logits: Tensor = model.get_output_embeddings()(response_states(model, branches))
    return logits.float()


def target_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """log p of each target: [N, V], [N] -> [N], in nats."""
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)
