"""Text -> token ids. Prompt and response are tokenized apart (Ren & Sutherland's protocol), so that every
response to a prompt continues the very same prompt tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatebench.bench.data.adapters import plain
from gatebench.bench.data.pairs import Dropped, Pair, Probe, Text
from gatebench.objectives.causal_lm import Tokenizer


@dataclass(frozen=True)
class Lengths:
    """max_length tokens of prompt and response; prompts keep their last max_prompt_length tokens, responses
    their first ones. Without max_prompt_length a prompt that fills max_length is dropped."""

    max_length: int
    max_prompt_length: int | None = None


@dataclass(frozen=True)
class EncodedPair:
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True)
class EncodedProbe:
    prompt: list[int]
    responses: dict[str, list[int]]


class Encoder:
    """A tokenizer with the lengths of a recipe."""

    def __init__(self, tokenizer: Tokenizer, lengths: Lengths) -> None:
        self.tokenizer, self.lengths = tokenizer, lengths
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end token; responses could not end")
        self.end = tokenizer.eos_token_id

    def prompt(self, text: Text) -> list[int] | None:
        """Token ids, or None where no room for a response would be left."""
        if not isinstance(text, str) and self.tokenizer.chat_template:
            turns = [{"role": role, "content": content} for role, content in text]
            ids = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        else:
            ids = self.tokenizer(plain(text))["input_ids"]
        if self.lengths.max_prompt_length:
            ids = ids[-self.lengths.max_prompt_length :]
        return list(ids) if 0 < len(ids) < self.lengths.max_length else None

    def response(self, text: str, prompt: list[int]) -> list[int]:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self.end][: self.lengths.max_length - len(prompt)]

    def pairs(self, rows: Sequence[Pair]) -> tuple[list[EncodedPair], list[Dropped]]:
        """Encoded pairs, and the rows whose prompt left no room for a response."""
        kept, dropped = [], []
        for number, row in enumerate(rows):
            prompt = self.prompt(row.prompt)
            if prompt is None:
                dropped.append(Dropped(f"pair {number}", f"prompt fills max_length {self.lengths.max_length}"))
            else:
                kept.append(EncodedPair(prompt, self.response(row.chosen, prompt), self.response(row.rejected, prompt)))
        return kept, dropped

    def probes(self, rows: Sequence[Probe]) -> list[tuple[int, EncodedProbe]]:
        """Encoded probes with the index of their row; rows without room are left out."""
        encoded = ((i, row, self.prompt(row.prompt)) for i, row in enumerate(rows))
        return [
            (i, EncodedProbe(prompt, {kind: self.response(text, prompt) for kind, text in row.responses.items()}))
            for i, row, prompt in encoded
            if prompt is not None
        ]
