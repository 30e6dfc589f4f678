"""Probe responses for a callback: token ids, and their log-probs under a model that is being trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from accelerate import PartialState
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedConfig
from transformers.utils.logging import tqdm
from trl.data_utils import common_prefix_length, extract_prompt

from gatebench.objectives.causal_lm import Tokenizer
from gatebench.objectives.trl.steps import gathered

RESPONSE_KINDS = ("chosen", "rejected", "unrelated")
ROWS_AT_ONCE = 8
LOGITS_AT_ONCE = 2**26  # 256 MiB in float32: TRL's trainers make none, so a training's memory may have no room for more
BAR_AFTER = 2  # seconds
ProbeRow = Mapping[str, object]


@dataclass(frozen=True)
class ProbeResponse:
    """One response to the prompt of a probe. kind: one of RESPONSE_KINDS."""

    probe: int
    kind: str
    prompt: list[int]
    tokens: list[int]


@dataclass(frozen=True)
class Room:
    """How long prompt and response may be together, in tokens, and which end of a longer one stays."""

    tokens: int | None
    keep_end: bool = False

    def cut(self, prompt: list[int], response: list[int]) -> tuple[list[int], list[int]]:
        """As the collators of TRL's trainers cut."""
        over = 0 if self.tokens is None else max(0, len(prompt) + len(response) - self.tokens)
        if self.keep_end:
            return prompt[over:], response[max(0, over - len(prompt)) :]
        left = len(prompt) + len(response) - over
        return prompt[:left], response[: max(0, left - len(prompt))]


def responses_of(rows: Iterable[ProbeRow], tokenizer: Tokenizer | None, room: Room) -> list[ProbeResponse]:
    """Rows of prompt, chosen and rejected as TRL takes them (text, messages, or token ids; without a prompt, it is what
    the two begin with), each with the chosen response of another prompt as its unrelated one, unless it has one of its
    own.

    A text gets an end token. tokenizer: the trainer's; None where it has none. Raises ValueError for a row that has no
    pair, that cannot be tokenized, or of which nothing is left.
    """
    pairs = [_pair(place, row, tokenizer) for place, row in enumerate(rows)]
    if not pairs:
        raise ValueError("SqueezingCallback: the probes have no row; give some pairs of prompt, chosen and rejected")
    found = []
    for place, pair in enumerate(pairs):
        pair.setdefault("unrelated", _another(pairs, place))
        for kind in RESPONSE_KINDS:
            prompt, tokens = room.cut(pair["prompt"], pair[kind])
            if tokens:
                found.append(ProbeResponse(place, kind, prompt, tokens))
            elif kind != "unrelated":
                raise ValueError(
                    f"SqueezingCallback: probe {place} has no token of its {kind} response"
                    + (f" within {room.tokens} tokens (max_length, or the model's positions)" if pair[kind] else "")
                    + "; leave the row out"
                )
    return found


def _another(pairs: Sequence[Mapping[str, list[int]]], place: int) -> list[int]:
    """The chosen response of the next row with another prompt."""
    own = pairs[place]["prompt"]
    after = (pairs[(place + step) % len(pairs)] for step in range(1, len(pairs)))
    return next((pair["chosen"] for pair in after if pair["prompt"] != own), [])


def _pair(place: int, row: ProbeRow, tokenizer: Tokenizer | None) -> dict[str, list[int]]:
    names = ("prompt", *RESPONSE_KINDS)
    if {"prompt_ids", "chosen_ids", "rejected_ids"} <= row.keys():
        return {name: list(row[f"{name}_ids"]) for name in names if f"{name}_ids" in row}  # type: ignore[call-overload]
    missing = [name for name in names[1:3] if name not in row]
    if missing:
        raise ValueError(
            f"SqueezingCallback: probe {place} has no {' and no '.join(missing)}; a probe has prompt, chosen and "
            f"rejected (text or messages), this one {', '.join(map(str, row))}"
        )
    if tokenizer is None:
        raise ValueError(
            "SqueezingCallback: the trainer has no tokenizer to read the probes with; give it one "
            "(processing_class=tokenizer), or probes of prompt_ids, chosen_ids and rejected_ids"
        )
    whole = row if "prompt" in row else {**row, **extract_prompt(dict(row))}
    options = _options(row)
    prompt = _ids(tokenizer, whole["prompt"], options, answered=False)
    wholes = {
        kind: _ids(tokenizer, _joined(whole["prompt"], whole[kind]), options)
        for kind in RESPONSE_KINDS
        if kind in whole
    }
    shared = min(common_prefix_length(prompt, wholes[kind]) for kind in RESPONSE_KINDS[:2])  # as TRL
    return {"prompt": prompt[:shared], **{kind: ids[shared:] for kind, ids in wholes.items()}}


def _options(row: ProbeRow) -> dict[str, object]:
    """What a row of TRL's tells its chat template."""
    tools = row.get("tools")
    more = cast("Mapping[str, object] | None", row.get("chat_template_kwargs"))
    return {"tools": json.loads(tools) if isinstance(tools, str) else tools, **(more or {})}


def _joined(prompt: object, response: object) -> object:
    if isinstance(prompt, str):
        return f"{prompt}{response}"
    return [*prompt, *([{"role": "assistant", "content": response}] if isinstance(response, str) else response)]  # type: ignore[misc]


def _ids(tokenizer: Tokenizer, text: object, options: Mapping[str, object], *, answered: bool = True) -> list[int]:
    """answered: with a response, so that it ends."""
    if isinstance(text, str):
        ids, end = list(tokenizer(text)["input_ids"]), tokenizer.eos_token_id
        if answered and end is None:
            raise ValueError(
                "SqueezingCallback: the trainer's tokenizer has no end token, which ends the response of a probe; set "
                "tokenizer.eos_token"
            )
        return [*ids, end] if answered and end is not None and end not in ids[-1:] else ids
    written = tokenizer.apply_chat_template(text, tokenize=False, add_generation_prompt=not answered, **options)  # type: ignore[arg-type]
    return list(tokenizer(written, add_special_tokens=False)["input_ids"])


def digest_of(responses: Sequence[ProbeResponse]) -> str:
    """What tells these probes from others, tokenized and cut as they are."""
    return hashlib.sha256(repr(responses).encode()).hexdigest()


@torch.no_grad()
def summed_log_probs(model: Module, responses: Sequence[ProbeResponse], *, quiet: bool) -> dict[tuple[int, str], float]:
    """Summed log-prob in nats by probe and kind, and as kind "argmax" that of the most likely tokens along the chosen
    response (teacher-forced): Ren & Sutherland 2025, arXiv 2407.10490, section 4.

    By ordinary forward passes of whatever wraps the model, in the precision that it computes in; every process scores
    its share, all in as many passes. Nothing is drawn, and the model's modes are left as they are. quiet: without the
    bar of a measurement that takes seconds.
    """
    state = PartialState()
    order = sorted(responses, key=lambda own: len(own.prompt) + len(own.tokens))
    batches = _batches(order, cast("PreTrainedConfig", model.config).get_text_config().vocab_size)
    turns = range(0, len(batches), state.num_processes)
    found: dict[tuple[int, str], float] = {}
    with _evaluated(model):
        for turn in tqdm(
            turns, desc="squeezing: probes", leave=False, delay=BAR_AFTER,
            disable=quiet or not state.is_main_process,
        ):  # fmt: skip
            found |= _of_batch(model, batches[(turn + state.process_index) % len(batches)])
    if state.num_processes > 1:
        found = {key: value for part in gathered(found) for key, value in part.items()}
    return found


def _batches(order: Sequence[ProbeResponse], vocabulary: int) -> list[list[ProbeResponse]]:
    """Responses in the order of their lengths, as many at once as the bounds of rows and of logits let."""
    found: list[list[ProbeResponse]] = []
    for own in order:
        length = len(own.prompt) + len(own.tokens)
        most = max(1, min(ROWS_AT_ONCE, LOGITS_AT_ONCE // (length * vocabulary)))
        if not found or len(found[-1]) >= most:
            found.append([])
        found[-1].append(own)
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
