"""What TRL reads of the model's output, computed with one row a pair or several instead of two rows a pair.

The trainer hands in what belongs to TRL, so that this file builds on torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatebench.objectives.causal_lm import CausalLM
from gatebench.objectives.layout import proof, shared_prompt
from gatebench.objectives.layout.architecture import refusal
from gatebench.objectives.layout.head import ScaledHead, head_of

REPORTED = ("entropy", "mean_logits", "is_top1")  # what TRL logs of the model's output, beside log_probs
# What is read of a batch, and what a batch may have that is none of the model's.
LAID_OUT = (
    "input_ids", "attention_mask", "completion_mask", "ref_chosen_logps", "ref_rejected_logps",
    "ref_rejected_token_logps", "ref_chosen_token_logps",
)  # fmt: skip
# A micro-batch holds at most so many positions (one row at least). A processor gains nothing from more, and padding
# grows; an accelerator needs them to be busy.
POSITIONS = {"cpu": 700, "cuda": 16384}
# Logits of a batch up to so many numbers are kept for the backward pass; more are computed again, in tiles.
LOGITS_KEPT = 2**25
HeadOutputs = tuple[Tensor, Tensor, Tensor, Tensor]  # log_probs and REPORTED, [N] or [2B, T-1] each
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


@dataclass(frozen=True)
class LaidOut:
    """A batch of TRL's as rows of a layout.

    parts: its micro-batches, each with the places [N] of its response tokens in the flat output [2B * (T-1)];
    learned: [2B, T-1] which places of the output are not zero
    """

    parts: tuple[tuple[shared_prompt.Branches, Tensor], ...]
    learned: Tensor


def lay_out_batch(
    network: CausalLM, inputs: Mapping[str, Tensor], layout: str, *, in_one_pass: bool = False
) -> LaidOut | str:
    """A batch, [chosen; rejected] rows, for a network that has no `layout_caution`; why not, where it cannot be.

    network: without peft's wrapper; layout: "one_row" or "packed"; in_one_pass: not cut into micro-batches of similar
    length, which have the same gradient with less padding, as where all processes must go through a model as often.
    """
    found = _split(inputs)
    if isinstance(found, str):
        return found
    prompts, pairs = found
    half, shape = len(prompts), inputs["completion_mask"][:, 1:].shape
    lengths = [len(p) - 1 + len(c) + len(r) for p, (c, r) in zip(prompts, pairs, strict=True)]
    longest = max(len(p) + max(map(len, own)) for p, own in zip(prompts, pairs, strict=True))
    bins = shared_prompt.pack(lengths) if layout == "packed" else [[i] for i in range(half)]
    sizes = [sum(lengths[i] for i in row) for row in bins]
    reason = refusal(network.config, longest, max(sizes))  # of data that were not there when the layout was proven
    if reason:
        return f"{type(network).__name__} {reason}"
    device = inputs["input_ids"].device
    positions = POSITIONS.get(device.type, max(POSITIONS.values()))
    parts = []
    for part in [list(range(len(bins)))] if in_one_pass else shared_prompt.micro_batches(sizes, positions):
        order = [i for row in part for i in bins[row]]
        rows = shared_prompt.lay_out(
            [prompts[i] for i in order], [pairs[i] for i in order], [len(bins[row]) for row in part],
            shared_prompt.multiple_of(network),
        )  # fmt: skip
        pair = torch.tensor(order)[rows.response // 2]
        first = torch.tensor([len(prompt) - 1 for prompt in prompts])[pair]
        places = (pair + half * (rows.response % 2)) * shape[1] + first + rows.offset
        parts.append((rows.to(device), places.to(device)))
    return LaidOut(tuple(parts), inputs["completion_mask"][:, 1:].bool())


def outputs_of(network: CausalLM, batch: LaidOut, tiled_head: HeadFunction) -> HeadOutputs:
    """log_probs and REPORTED, [2B, T-1] each; tiled_head: the head for batches whose logits are not kept."""
    head = head_of(network)
    tokens = sum(len(places) for _, places in batch.parts)
    outputs = _kept_head if tokens * network.config.get_text_config().vocab_size <= LOGITS_KEPT else tiled_head
    found = [outputs(head, shared_prompt.response_states(network, rows), rows.targets) for rows, _ in batch.parts]
    where = torch.cat([places for _, places in batch.parts])

    def placed(parts: tuple[Tensor, ...]) -> Tensor:
        values = torch.cat(parts)
        flat = values.new_zeros(batch.learned.numel()).scatter(0, where, values)
        return flat.view(batch.learned.shape).masked_fill(~batch.learned, 0)

    log_probs, entropy, mean_logits, is_top1 = map(placed, zip(*found, strict=True))
    return log_probs, entropy, mean_logits, is_top1


def _kept_head(head: ScaledHead, states: Tensor, targets: Tensor) -> HeadOutputs:
    """The logits stay in memory."""
    logits = head(states).float()
    log_p = logits.log_softmax(dim=1)
    with torch.no_grad():
        entropy = -(log_p.exp().mul_(log_p)).sum(dim=1)
        mean, top = logits.mean(dim=1), logits.argmax(dim=1) == targets
    return log_p.gather(1, targets[:, None]).squeeze(1), entropy, mean, top


def _split(inputs: Mapping[str, Tensor]) -> tuple[list[list[int]], list[list[list[int]]]] | str:
    """TRL's [chosen; rejected] rows -> prompts and [chosen, rejected] ids; why not, where a row says more than that."""
    more = sorted(name for name, value in inputs.items() if name not in LAID_OUT and isinstance(value, Tensor))
    if more:
        return f"a batch has {', '.join(more)}, which the layout knows nothing of"
    rows = []
    for ids, mask, attention in zip(
        inputs["input_ids"].tolist(), inputs["completion_mask"].tolist(), inputs["attention_mask"].tolist(),
        strict=True,
    ):  # fmt: skip
        end = sum(attention)
        if not all(attention[:end]) or any(mask[end:]):
            return "the rows of a batch are not filled from their beginning to where their padding starts"
        start = mask.index(1) if 1 in mask else end
        rows.append((ids[:start], ids[start:end]))
    half = len(rows) // 2
    if any(rows[i][0] != rows[half + i][0] or not rows[i][0] for i in range(half)):
        return "the prompts of some pairs are empty or cut unevenly"
    return [row[0] for row in rows[:half]], [[rows[i][1], rows[half + i][1]] for i in range(half)]
