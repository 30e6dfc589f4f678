"""Forward passes over prompts and their responses: the prompt once, its keys and values shared by every response.

    prompt pass     p1 ... p(n-1)              [B, P]       -> keys and values of every layer
    response pass   pn y1 ... y(m-1)           [R, L]       each response continues the cache of its prompt

Without gradients this is cheaper than one row a prompt (shared_prompt.py): attention grows with the length of
one response, not with that of all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import torch

from gatebench.objectives.causal_lm import CausalLM, KeyValueCache, backbone_of
from gatebench.objectives.layout import proof
from gatebench.objectives.layout.head import head_of
from gatebench.objectives.layout.shared_prompt import target_log_probs

if TYPE_CHECKING:
    from torch import Tensor

POSITIONS_A_BATCH = 8192
LOGITS_A_BATCH = 2**27  # numbers, of which a few copies are alive at a time: with 150,000 words 890 positions
T = TypeVar("T")
# By (prompt, response): which tokens of a response count, where others than the assistant's stand between its own.
Learned = Mapping[tuple[int, int], Sequence[bool]]


@dataclass(frozen=True)
class Scored:
    """Some responses of one forward pass, N tokens in all.

    owners: (prompt, response) indices of each response; response: [N] which of them a token belongs to;
    targets: [N] the tokens; logits: [N, V] float32 that predict them
    """

    owners: list[tuple[int, int]]
    response: Tensor
    targets: Tensor
    logits: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """[N] -> [responses], summed over the tokens of each, in float64."""
        zeros = torch.zeros(len(self.owners), dtype=torch.float64, device=values.device)
        return zeros.index_add(0, self.response, values.double())

    def only(self, wanted: Sequence[int]) -> Scored:
        """The same pass, some of its responses."""
        new = torch.full((len(self.owners),), -1, device=self.response.device)
        new[list(wanted)] = torch.arange(len(wanted), device=new.device)
        rows = (new[self.response] >= 0).nonzero().squeeze(1)
        owners = [self.owners[i] for i in wanted]
        return Scored(owners, new[self.response[rows]], self.targets[rows], self.logits[rows])


@dataclass(frozen=True)
class Reader:
    """A model and how it reads a prompt: once for all its responses, or again for each where `caution` says why."""

    model: CausalLM
    caution: str | None


def reader_of(model: CausalLM, prompts: Sequence[list[int]], responses: Sequence[Sequence[list[int]]]) -> Reader:
    """Proven on the longest prompt and the longest response of those that it will read, or the shortest text where they
    are one."""
    texts = [(prompt, tokens) for prompt, own in zip(prompts, responses, strict=True) for tokens in own if tokens]
    if not texts:
        return Reader(model, None)
    places = range(len(texts))
    told = list(dict.fromkeys([
        max(places, key=lambda i: (len(texts[i][0]), len(texts[i][1]))),
        max(places, key=lambda i: len(texts[i][1])),
        min(places, key=lambda i: sum(map(len, texts[i]))),
    ]))[:2]  # fmt: skip
    shown = [texts[i] for i in told]

    def fast() -> Tensor:
        cache = _PromptCache(model, [prompt for prompt, _ in shown])
        scored = [tokens for _, tokens in shown]
        targets = torch.tensor([token for tokens in scored for token in tokens], device=model.device)
        return target_log_probs(cache.logits(range(len(shown)), scored), targets)

    # a cache masks its window by columns, and padding stands between a prompt and its response
    columns = max(len(prompt) for prompt, _ in shown) + max(len(tokens) for _, tokens in shown)
    reason = proof.doubt(model, shown, fast, columns, columns)
    return Reader(model, f"scoring: {reason}; every response is computed with its prompt" if reason else None)


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in groups of similar length whose padded size stays within a budget of positions."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or lengths[index] * (len(groups[-1]) + 1) > budget:
            groups.append([])
        groups[-1].append(index)
    return groups


def map_batches(
    reader: Reader,
    prompts: Sequence[list[int]],
    responses: Sequence[Sequence[list[int]]],
    use: Callable[[Scored], T],
    report: Callable[[float], None],
    learned: Learned = MappingProxyType({}),
) -> list[T]:
    """`use` of every response of every prompt, similar lengths together; report: the share done so far; learned: of
    the responses of which not all tokens count.

    Where a pass does not fit into memory, half as much is tried at a time.
    """
    budget, found = POSITIONS_A_BATCH, list[T]()
    most = max(1, LOGITS_A_BATCH // reader.model.config.get_text_config().vocab_size)
    left = {(i, k): None for i, own in enumerate(responses) for k, tokens in enumerate(own) if tokens}
    total = len(left)
    pending = batches([len(prompt) for prompt in prompts], budget)[::-1]
    while pending:
        group = pending.pop()
        try:
            rows = [(i, k) for i in group for k in range(len(responses[i])) if (i, k) in left]
            cache = None if reader.caution else _PromptCache(reader.model, [prompts[i] for i in group])
            place = {prompt: at for at, prompt in enumerate(group)}
            for chunk in batches([len(responses[i][k]) for i, k in rows], min(budget, most)):
                owners = [rows[at] for at in chunk]
                tokens = [responses[i][k] for i, k in owners]
                if cache:
                    logits = cache.logits([place[i] for i, _ in owners], tokens)
                else:
                    logits = _plain(reader.model, [prompts[i] for i, _ in owners], tokens)
                found.append(use(_scored(owners, tokens, logits, learned)))
                for owner in owners:
                    del left[owner]
                report(1 - len(left) / total)
        except torch.OutOfMemoryError:
            if len(group) == 1 and budget <= max(map(len, responses[group[0]])):
                raise
            torch.cuda.empty_cache()
            budget //= 2
            middle = (len(group) + 1) // 2
            pending += [part for part in (group[middle:], group[:middle]) if part]
    return found


def score(reader: Reader, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> Tensor:
    """Logits [N, V] in float32 of one response to each prompt, in their order, in one pass."""
    if reader.caution:
        return _plain(reader.model, prompts, responses)
    return _PromptCache(reader.model, prompts).logits(range(len(prompts)), responses)


def counted(owners: Sequence[tuple[int, int]], tokens: Sequence[list[int]], learned: Learned) -> Tensor | None:
    """Which of the tokens of some responses, one after another, count; None where all do."""
    if not any(owner in learned for owner in owners):
        return None
    kept = [own for owner, ids in zip(owners, tokens, strict=True) for own in learned.get(owner, [True] * len(ids))]
    return torch.tensor(kept).nonzero().squeeze(1)


def _scored(owners: list[tuple[int, int]], tokens: list[list[int]], logits: Tensor, learned: Learned) -> Scored:
    lengths = torch.tensor([len(own) for own in tokens])
    response = torch.repeat_interleave(torch.arange(len(tokens)), lengths).to(logits.device)
    targets = torch.tensor([t for own in tokens for t in own], device=logits.device)
    kept = counted(owners, tokens, learned)
    if kept is not None:
        kept = kept.to(logits.device)
        response, targets, logits = response[kept], targets[kept], logits[kept]
    return Scored(owners, response, targets, logits)


class _PromptCache:
    """Keys and values of a batch of prompts, all tokens but each one's last."""

    def __init__(self, model: CausalLM, prompts: Sequence[list[int]]) -> None:
        _check(prompts)
        self.head, self.backbone = head_of(model), backbone_of(model)
        self.last = [prompt[-1] for prompt in prompts]
        self.ids, self.mask = _padded([prompt[:-1] for prompt in prompts], model.device)
        self.lengths = self.mask.sum(dim=1)
        self.cache: KeyValueCache | None = None
        if self.ids.shape[1]:
            self.cache = self.backbone(input_ids=self.ids, attention_mask=self.mask, use_cache=True).past_key_values

    def logits(self, at: Sequence[int], responses: Sequence[list[int]]) -> Tensor:
        """[N, V] of a response to each of the prompts `at` (indices of this batch)."""
        rows = torch.tensor(list(at), device=self.mask.device)
        ids, mask = _padded(
            [[self.last[i], *tokens[:-1]] for i, tokens in zip(at, responses, strict=True)], self.mask.device
        )
        cache = None
        if self.cache is not None:
            cache = copy.copy(self.cache)
            cache.layers = [copy.copy(layer) for layer in self.cache.layers]
            cache.batch_select_indices(rows)
        # what follows a response stays at its last position: there may be none beyond
        steps = torch.arange(ids.shape[1], device=ids.device).minimum(mask.sum(dim=1, keepdim=True) - 1)
        hidden = self.backbone(
            input_ids=ids,
            attention_mask=torch.cat([self.mask[rows], mask], dim=1),
            position_ids=self.lengths[rows, None] + steps,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return self.head(hidden[mask.bool()]).float()


def _plain(model: CausalLM, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> Tensor:
    """One ordinary row a response, for architectures whose cache is not the common one."""
    _check(prompts)
    rows = [prompt + tokens[:-1] for prompt, tokens in zip(prompts, responses, strict=True)]
    ids, mask = _padded(rows, model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    kept = [
        logits[i, len(p) - 1 : len(p) - 1 + len(t)] for i, (p, t) in enumerate(zip(prompts, responses, strict=True))
    ]
    return torch.cat(kept).float()


def _check(prompts: Sequence[list[int]]) -> None:
    if not all(prompts):
        raise ValueError("a prompt has no tokens: nothing predicts the first of its response")


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids and their attention mask, both [R, T]."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=torch.long, device=device)
    return ids.reshape(len(rows), width), mask.reshape(len(rows), width)
