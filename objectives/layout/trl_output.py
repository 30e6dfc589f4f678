"""What TRL reads of the model's output, computed with one row a pair or several instead of two rows a pair.

The trainer hands in what belongs to TRL, so that this file builds on torch alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from gatebench.objectives.causal_lm import CausalLM
from gatebench.objectives.layout import proof, shared_prompt
from gatebench.objectives.layout.head import ScaledHead, head_of

logger = logging.getLogger(__name__)
REPORTED = ("entropy", "mean_logits", "is_top1")  # what TRL logs of the model's output, beside log_probs
# A micro-batch holds at most so many positions (one row at least). A processor gains nothing from more, and padding
# grows; an accelerator needs them to be busy.
POSITIONS = {"cpu": 700, "cuda": 16384}
# Logits of a batch up to so many numbers are kept for the backward pass; more are computed again, in tiles.
LOGITS_KEPT = 2**25
HeadOutputs = tuple[Tensor, Tensor, Tensor, Tensor]  # log_probs and REPORTED, [N] each
HeadFunction = Callable[[ScaledHead, Tensor, Tensor], HeadOutputs]  # of last hidden states [N, H] and targets [N]


@dataclass
class PairOutput:
    """The fields of a model's output that TRL reads: [2B, T-1] each, zero outside the responses, chosen rows first."""

    log_probs: Tensor
    entropy: Tensor
    mean_logits: Tensor
    is_top1: Tensor
    aux_loss: Tensor | None = None


TokenPair = tuple[list[int], list[int], list[int]]  # token ids of prompt, chosen and rejected


def layout_caution(
    network: CausalLM, pairs: Sequence[TokenPair], layout: str, longest: int | None = None
) -> str | None:
    """The sentence that says why a layout is not used; None where it was proven to give what plain transformers gives.

    network: without peft's wrapper; pairs: as `telling` chooses them; longest: see proof.doubt.
    """
    pairs = [pair for pair in pairs if pair[0]]  # without a prompt there is nothing to share: two rows in any case
    prompts, responses = [pair[0] for pair in pairs], [list(pair[1:]) for pair in pairs]
    texts = [(prompt, tokens) for prompt, own in zip(prompts, responses, strict=True) for tokens in own if tokens]
    if not texts:
        return None
    rows = shared_prompt.lay_out(
        prompts, responses, [len(pairs)] if layout == "packed" else None, shared_prompt.multiple_of(network)
    ).to(network.device)
    reason = proof.doubt(
        network, texts,
        lambda: shared_prompt.target_log_probs(shared_prompt.response_logits(network, rows), rows.targets),
        max(sum(map(len, pair)) for pair in pairs), longest,
    )  # fmt: skip
    return f"layout {layout}: {reason}; two rows a pair are used" if reason else None


def telling(lengths: Sequence[tuple[int, ...]]) -> list[int]:
    """The two pairs that a layout is proven on, by the tokens of prompt, chosen and rejected: with the widest row and
    with the longest text; where one has both, the narrowest row is the other, so that there is padding."""
    places = range(len(lengths))
    return list(dict.fromkeys([
        max(places, key=lambda i: sum(lengths[i])),
        max(places, key=lambda i: lengths[i][0] + max(lengths[i][1:])),
        min(places, key=lambda i: sum(lengths[i])),
    ]))[:2] if lengths else []  # fmt: skip


def one_row_output(
    network: CausalLM,
    inputs: Mapping[str, Tensor],
    layout: str,
    autocast: Callable[[], AbstractContextManager[None]],
    tiled_head: HeadFunction,
) -> PairOutput | None:
    """The output for a batch of TRL's, [chosen; rejected] rows; None where it cannot be computed so.

    network: without peft's wrapper, and one that has no `layout_caution`; layout: "one_row" or "packed"; tiled_head:
    the head for batches whose logits are not kept. Rows are cut into micro-batches of similar length: the same gradient
    with less padding.
    """
    prompts, pairs = _split(inputs)
    if prompts is None:
        logger.warning_once(  # type: ignore[attr-defined]
            f"layout {layout}: the prompts of some pairs are cut unevenly; two rows a pair are used for their batches"
        )
        return None
    half, shape = len(prompts), inputs["completion_mask"][:, 1:].shape
    lengths = [len(p) - 1 + len(c) + len(r) for p, (c, r) in zip(prompts, pairs, strict=True)]
    starts = [len(prompt) - 1 for prompt in prompts]
    device = inputs["input_ids"].device
    head = head_of(network)
    kept = int(inputs["completion_mask"].sum()) * head.weight.shape[0] <= LOGITS_KEPT
    outputs_of = _kept_head if kept else tiled_head
    found: list[HeadOutputs] = []
    places: list[Tensor] = []
    bins = shared_prompt.pack(lengths) if layout == "packed" else [[i] for i in range(half)]
    sizes = [sum(lengths[i] for i in row) for row in bins]
    for part in shared_prompt.micro_batches(sizes, POSITIONS.get(device.type, max(POSITIONS.values()))):
        order = [i for row in part for i in bins[row]]
        rows = shared_prompt.lay_out(
            [prompts[i] for i in order], [pairs[i] for i in order], [len(bins[row]) for row in part],
            shared_prompt.multiple_of(network),
        ).to(device)  # fmt: skip
        with autocast():
            found.append(outputs_of(head, shared_prompt.response_states(network, rows), rows.targets))
        pair = torch.tensor(order, device=device)[rows.response // 2]
        row = pair + half * (rows.response % 2)
        first = torch.tensor(starts, device=device)[pair]
        places.append(row * shape[1] + first + rows.offset)
    where, unlearned = torch.cat(places), inputs["completion_mask"][:, 1:] == 0

    def placed(parts: tuple[Tensor, ...]) -> Tensor:
        values = torch.cat(parts)
        return values.new_zeros(shape.numel()).scatter(0, where, values).view(shape).masked_fill(unlearned, 0)

    log_probs, entropy, mean_logits, is_top1 = map(placed, zip(*found, strict=True))
    return PairOutput(log_probs, entropy, mean_logits, is_top1)


def _kept_head(head: ScaledHead, states: Tensor, targets: Tensor) -> HeadOutputs:
    """The logits stay in memory."""
    logits = head(states).float()
    log_p = logits.log_softmax(dim=1)
    with torch.no_grad():
        entropy = -(log_p.exp().mul_(log_p)).sum(dim=1)
        mean, top = logits.mean(dim=1), logits.argmax(dim=1) == targets
    return log_p.gather(1, targets[:, None]).squeeze(1), entropy, mean, top


def _split(inputs: Mapping[str, Tensor]) -> tuple[list[list[int]] | None, list[list[list[int]]]]:
    """TRL's [chosen; rejected] rows -> prompts and [chosen, rejected] ids; None if prompts differ."""
    rows = []
    for ids, mask, attention in zip(
        inputs["input_ids"].tolist(), inputs["completion_mask"].tolist(),
        inputs["attention_mask"].sum(dim=1).tolist(), strict=True,
    ):  # fmt: skip
        start = mask.index(1) if 1 in mask else attention
        rows.append((ids[:start], ids[start:attention]))
    half = len(rows) // 2
    pairs = [[rows[i][1], rows[half + i][1]] for i in range(half)]
    same = all(rows[i][0] == rows[half + i][0] and rows[i][0] for i in range(half))
    return ([rows[i][0] for i in range(half)] if same else None), pairs
