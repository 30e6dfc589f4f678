"""What every generation engine takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """temperature 0 is greedy; stop: texts that end an answer and are not part of it. Nothing else shapes an answer: a
    model's own `generation_config` gives its end tokens, but no temperature and no penalty."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """tokens: ids without the end token; finish_reason: "stop" or "length"; log_prob: of all tokens that were drawn,
    the end included and no padding after it, in nats at temperature 1."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    log_prob: float
