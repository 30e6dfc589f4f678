"""Probe responses for a callback: token ids, and their log-probs under a model that is being trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import PartialState
from torch import Tensor
from torch.nn import Module
from trl.data_utils import common_prefix_length

from gatebench.objectives.causal_lm import Tokenizer
from gatebench.objectives.trl.steps import gathered

RESPONSE_KINDS = ("chosen", "rejected", "unrelated")
ROWS_AT_ONCE = 8
ProbeRow = Mapping[str, object]


@dataclass(frozen=True)
class ProbeResponse:
    """One response to the prompt of a probe. kind: one of RESPONSE_KINDS."""

    probe: int
    kind: str
    prompt: list[int]
    tokens: list[int]


def responses_of(rows: Iterable[ProbeRow], tokenizer: Tokenizer, max_length: int | None) -> list[ProbeResponse]:
    """Rows of prompt, chosen and rejected as TRL takes them (text, messages, or token ids), each with the chosen
    response of another prompt as its unrelated one, unless it has one of its own.

    A text gets an end token; all are cut at max_length as TRL's trainers do. Raises ValueError for a row that has no
    pair, or of which nothing is left.
    """
    pairs = [_pair(place, row, tokenizer) for place, row in enumerate(rows)]
    if not pairs:
        raise ValueError("SqueezingCallback: the probes have no row; give some pairs of prompt, chosen and rejected")
    found = []
    for place, pair in enumerate(pairs):
        pair.setdefault("unrelated", _another(pairs, place))
        for kind in RESPONSE_KINDS:
            room = None if max_length is None else max(0, max_length - len(pair["prompt"]))
            tokens = pair[kind][:room]
            if tokens:
                found.append(ProbeResponse(place, kind, pair["prompt"], tokens))
            elif kind != "unrelated":
                raise ValueError(
                    f"SqueezingCallback: probe {place} has no token of its {kind} response within max_length "
                    f"{max_length}; leave the row out or raise max_length"
                )
    return found


def _another(pairs: Sequence[Mapping[str, list[int]]], place: int) -> list[int]:
    """The chosen response of the next row with another prompt."""
    own = pairs[place]["prompt"]
    after = (pairs[(place + step) % len(pairs)] for step in range(1, len(pairs)))
    return next((pair["chosen"] for pair in after if pair["prompt"] != own), [])


def _pair(place: int, row: ProbeRow, tokenizer: Tokenizer) -> dict[str, list[int]]:
    names = ("prompt", *RESPONSE_KINDS)
    if {"prompt_ids", "chosen_ids", "rejected_ids"} <= row.keys():
        return {name: list(row[f"{name}_ids"]) for name in names if f"{name}_ids" in row}  # type: ignore[call-overload]
    missing = [name for name in names[:3] if name not in row]
    if missing:
        raise ValueError(
            f"SqueezingCallback: probe {place} has no {' and no '.join(missing)}; a probe has prompt, chosen and "
            f"rejected (text or messages), this one {', '.join(map(str, row))}"
        )
    prompt = _ids(tokenizer, row["prompt"], answered=False)
    wholes = {kind: _ids(tokenizer, _joined(row["prompt"], row[kind])) for kind in RESPONSE_KINDS if kind in row}
    shared = min(common_prefix_length(prompt, whole) for whole in wholes.values())
    return {"prompt": prompt[:shared], **{kind: whole[shared:] for kind, whole in wholes.items()}}


def _joined(prompt: object, response: object) -> object:
    if isinstance(prompt, str):
        return f"{prompt}{response}"
    return [*prompt, *([{"role": "assistant", "content": response}] if isinstance(response, str) else response)]  # type: ignore[misc]


def _ids(tokenizer: Tokenizer, text: object, *, answered: bool = True) -> list[int]:
    """answered: with a response, so that it ends."""
    if isinstance(text, str):
        ids = list(tokenizer(text)["input_ids"])
        return [*ids, tokenizer.eos_token_id] if answered and tokenizer.eos_token_id not in ids[-1:] else ids  # type: ignore[list-item]
    written = tokenizer.apply_chat_template(text, tools=None, tokenize=False, add_generation_prompt=not answered)  # type: ignore[arg-type]
    return list(tokenizer(written, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def summed_log_probs(model: Module, responses: Sequence[ProbeResponse]) -> dict[tuple[int, str], float]:
    """Summed log-prob in nats by probe and kind, and as kind "argmax" that of the most likely tokens along the chosen
    response (teacher-forced): Ren & Sutherland 2025, arXiv 2407.10490, section 4.

    By ordinary forward passes of whatever wraps the model, in the precision that it computes in; every process scores
    its share, all in as many passes. Nothing is drawn, and the model's modes are left as they are.
    """
    state = PartialState()
    order = sorted(responses, key=lambda own: len(own.prompt) + len(own.tokens))
    batches = [order[start : start + ROWS_AT_ONCE] for start in range(0, len(order), ROWS_AT_ONCE)]
    found: dict[tuple[int, str], float] = {}
    with _evaluated(model):
        for turn in range(0, len(batches), state.num_processes):
            found |= _of_batch(model, batches[(turn + state.process_index) % len(batches)])
    if state.num_processes > 1:
        found = {key: value for part in gathered(found) for key, value in part.items()}
    return found


def _of_batch(model: Module, batch: Sequence[ProbeResponse]) -> dict[tuple[int, str], float]:
    rows = [own.prompt + own.tokens for own in batch]
    width, device = max(map(len, rows)), next(model.parameters()).device
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    # adapters of virtual tokens put theirs before a row
    logits: Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, -width:]
    found = {}
    for row, ids_of_row, own in zip(logits, rows, batch, strict=True):
        first = max(1, len(own.prompt))  # nothing predicts the first token of a row
        targets = torch.tensor(ids_of_row[first:], device=device)
        log_p = row[first - 1 : first - 1 + len(targets)].float().log_softmax(dim=-1)
        found[own.probe, own.kind] = log_p.gather(1, targets[:, None]).sum().item()
        if own.kind == "chosen":
            found[own.probe, "argmax"] = log_p.max(dim=-1).values.sum().item()
    return found


@contextmanager
def _evaluated(model: Module) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
