"""The rows every data set becomes: preference pairs and probes, as text or chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatebench.bench.keys import Json

ASSISTANT = "\n\nAssistant:"
# What the sides of a pair can be to each other: answers in other words, or one text but for a number or a word of it.
WORDED_APART, NEAR_MISS = "worded apart", "near miss"


@dataclass(frozen=True)
class Message:
    """One message of a conversation. content: empty only beside tool calls; more: what else a template may read of
    it (tool_calls, name, tool_call_id ...)."""

    role: str
    content: str
    more: Mapping[str, Json] = field(default_factory=dict)

    def as_turn(self) -> dict[str, Json]:
        """The message as chat templates take it."""
        return {"role": self.role, "content": self.content, **self.more}


@dataclass(frozen=True)
class Chat:
    """A conversation up to an answer. tools, template: the row's tools and chat_template_kwargs, for the template."""

    messages: tuple[Message, ...]
    tools: tuple[Json, ...] = ()
    template: Mapping[str, Json] = field(default_factory=dict)


Text = str | Chat
# What follows a prompt: text; of a conversation the content of one assistant message, or several whole messages.
Response = str | tuple[Message, ...]


@dataclass(frozen=True)
class Pair:
    """One preference: the prompt and its two responses. place: where its row stands, for a sentence about it; kind:
    what its two sides are to each other, where the data set says so."""

    prompt: Text
    chosen: Response
    rejected: Response
    place: str = field(default="", compare=False)
    kind: str = ""


@dataclass(frozen=True)
class Probe:
    """A prompt and the responses, by kind, whose log-prob is tracked without training on them. pair: the kind of the
    pair that it follows, where the data set says so."""

    prompt: Text
    responses: Mapping[str, Response]
    pair: str = ""


@dataclass(frozen=True)
class Dropped:
    """A row that was left out, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Draw:
    """Which rows are trained on, beside the first that the file has: all but the first `kept`, which probes are laid
    over, are drawn by the seed."""

    seed: int
    kept: int


@dataclass(frozen=True)
class PreferenceData:
    """A data set as the stages read it. cautions: sentences on what its rows make of the numbers."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    probes: Mapping[str, tuple[Probe, ...]]  # by split: "train", "test"
    dropped: tuple[Dropped, ...] = ()
    cautions: tuple[str, ...] = ()


def plain(text: Text) -> str:
    """A conversation as Human/Assistant turns, for corpora and for tokenizers without a chat template."""
    if isinstance(text, str):
        return text
    turns = [
        f"\n\n{'Assistant' if message.role == 'assistant' else 'Human'}: {message.content}" for message in text.messages
    ]
    return "".join(turns) + ASSISTANT


def plain_response(prompt: Text, response: Response) -> str:
    """The response as it stands behind `plain(prompt)`."""
    text = text_of(response)
    return text if isinstance(prompt, str) else f" {text}"


def text_of(response: Response) -> str:
    """The words of a response; of several messages those of the assistant."""
    if isinstance(response, str):
        return response
    return "\n".join(message.content for message in response if message.role == "assistant" and message.content)


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
