"""The rows every data set becomes: preference pairs, probes and a corpus, as text or chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Message = dict[str, str]
Text = str | tuple[tuple[str, str], ...]  # plain text, or ((role, content), ...) of a conversation


@dataclass(frozen=True)
class Pair:
    """One preference: the prompt and its two responses; chat prompts keep their turns."""

    prompt: Text
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Probe:
    """A prompt and the responses, by kind, whose log-prob is tracked without training on them."""

    prompt: Text
    responses: Mapping[str, str]


@dataclass(frozen=True)
class Dropped:
    """A row that was left out, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class PreferenceData:
    """A data set as the stages read it. train and test share no prompt that the source does not share."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    probes: Mapping[str, tuple[Probe, ...]]  # by split: "train", "test"
    corpus: tuple[str, ...]
    dropped: tuple[Dropped, ...] = field(default=())


def is_unrelated(kind: str) -> bool:
    """Whether a probe kind has nothing to do with its prompt (Ren & Sutherland 2025, sec. 4.1)."""
    return kind.startswith(("irr_", "random_"))


def role_of(kind: str) -> str:
    """What a probe kind is to its prompt. `other_...` kinds are the further answers of a prompt whose answers are
    enumerable; a column of a user's own that is none of the known ones is "unknown"."""
    if kind in ("chosen", "rejected"):
        return kind
    if is_unrelated(kind):
        return "unrelated"
    starts = {"chosen_": "chosen_paraphrases", "reject": "rejected_paraphrases", "other_": "other_answers"}
    return next((role for start, role in starts.items() if kind.startswith(start)), "unknown")
