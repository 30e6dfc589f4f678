"""One row for one prompt: the prompt once, then every response as a branch of it.

Row:       p1 ... p(n-1) | pn y1 ... y(m-1) | pn z1 ... z(k-1) | ...
Positions: 0 ... n-2     | n-1 n ...        | n-1 n ...        |

Each branch starts by repeating the last prompt token, so that it predicts the branch's first token; it
sees the prompt and itself (attention.py) and its positions restart. The log-probs are those of one row a
response, with the prompt computed once and the LM head applied to response positions only. Packed, a row
holds several prompts with their branches one after another, blind to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gatebench.objectives.causal_lm import CausalLM, backbone_of
from gatebench.objectives.layout.attention import BLOCK, FLEX, mask_for
from gatebench.objectives.layout.head import head_of


@dataclass(frozen=True)
class Branches:
    """R rows of T positions with N response tokens in all; P prompts of K branches each.

    input_ids, position_ids: [R, T]; groups: [R, T] the prompt of a position; segments: [R, T] 0 prompt, 1 ... K
    branches; both -1 for padding
    places: [N] flat positions (row * T + column) that predict; targets: [N] the tokens they predict
    response: [N] the response a token belongs to (prompt * K + branch); offset: [N] its index in it
    """

    input_ids: Tensor
    position_ids: Tensor
    groups: Tensor
    segments: Tensor
    places: Tensor
    targets: Tensor
    response: Tensor
    offset: Tensor

    def to(self, device: torch.device) -> Branches:
        return Branches(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass
class _Row:
    """A row that is being laid out; one entry a position in every list."""

    ids: list[int]
    positions: list[int]
    groups: list[int]
    segments: list[int]

    def add(self, tokens: Sequence[int], first: int, group: int, segment: int) -> None:
        """tokens: of one segment, at positions first, first + 1, ..."""
        self.ids += tokens
        self.positions += range(first, first + len(tokens))
        self.groups += [group] * len(tokens)
        self.segments += [segment] * len(tokens)


def lay_out(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    a_row: Sequence[int] | None = None,
    multiple: int = 1,
) -> Branches:
    """Token ids of P prompts and of K responses to each -> rows.

    a_row: how many prompts each row takes, in order (one each by default); multiple: of which the width is one.
    Raises ValueError for an empty prompt: nothing would predict the first response token.
    """
    counts = a_row or [1] * len(prompts)
    rows = [_Row([], [], [], []) for _ in counts]
    row_of = [row for row, count in enumerate(counts) for _ in range(count)]
    places: list[tuple[int, int]] = []
    targets: list[int] = []
    response: list[int] = []
    offset: list[int] = []
    for p, (prompt, branches) in enumerate(zip(prompts, responses, strict=True)):
        if not prompt:
            raise ValueError(f"prompt {p} of the batch has no tokens")
        row = rows[row_of[p]]
        row.add(prompt[:-1], 0, p, 0)
        for k, tokens in enumerate(branches):
            start = len(row.ids)
            if tokens:
                row.add([prompt[-1], *tokens[:-1]], len(prompt) - 1, p, k + 1)
            places += [(row_of[p], column) for column in range(start, len(row.ids))]
            targets += tokens
            response += [p * len(branches) + k] * len(tokens)
            offset += range(len(tokens))
    width = -(-max(1, max(len(row.ids) for row in rows)) // multiple) * multiple

    def padded(name: str, fill: int) -> Tensor:
        values = (getattr(row, name) for row in rows)
        return torch.tensor([own + [fill] * (width - len(own)) for own in values])

    flat = [row * width + column for row, column in places]
    vectors = (torch.tensor(values, dtype=torch.long) for values in (flat, targets, response, offset))
    return Branches(
        padded("ids", 0), padded("positions", 0), padded("groups", -1), padded("segments", -1), *vectors
    )  # fmt: skip


def pack(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts share a row, none longer than the longest of them: first fit, the longest first."""
    width = max(lengths)
    bins: list[list[int]] = []
    room: list[int] = []
    for text in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((i for i, free in enumerate(room) if lengths[text] <= free), None)
        if place is None:
            bins.append([text])
            room.append(width - lengths[text])
        else:
            bins[place].append(text)
            room[place] -= lengths[text]
    return bins


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


def multiple_of(model: CausalLM) -> int:
    """Of which the width of a row should be one: FlexAttention compiles anew for widths that are no whole blocks."""
    return BLOCK if model.config._attn_implementation == FLEX else 1


def response_states(model: CausalLM, branches: Branches) -> Tensor:
    """Last hidden states [N, H] at the response positions of a model that was proven to take this layout."""
    hidden = backbone_of(model)(
        input_ids=branches.input_ids,
        attention_mask=mask_for(model, branches.groups, branches.segments),
        position_ids=branches.position_ids,
        use_cache=False,
    ).last_hidden_state
    return hidden.flatten(0, 1).index_select(0, branches.places)


def response_logits(model: CausalLM, branches: Branches) -> Tensor:
    """Logits [N, V] in float32 at the same positions."""
    return head_of(model)(response_states(model, branches)).float()


def target_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """log p of each target: [N, V], [N] -> [N], in nats."""
    return -cross_entropy(logits, targets, reduction="none")
