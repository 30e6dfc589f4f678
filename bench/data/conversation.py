"""Conversations in every spelling that data sets use -> messages; what has no plain meaning is a BadRow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatebench.bench.data.pairs import ASSISTANT, Chat, Message
from gatebench.bench.keys import Json

# ShareGPT's and LLaMA-Factory's names for the roles that chat templates know
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "observation": "tool"}
KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool")
CALL = "function_call"  # LLaMA-Factory's turn that holds a call as JSON
TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class BadRow(Exception):
    """A row that cannot be read; the reason completes "FILE:LINE: "."""

    reason: str


def messages_of(value: object, key: str) -> tuple[Message, ...]:
    """A list of messages, or one alone: {role, content}, or {from, value} as ShareGPT writes them."""
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise BadRow(f"'{key}' is not a list of messages with role and content")
    return tuple(_message(turn, key) for turn in turns)


def is_messages(value: object) -> bool:
    """Whether a value is meant as a conversation: a list, or one message alone."""
    return isinstance(value, list | tuple | Mapping)


def _message(turn: object, key: str) -> Message:
    if not isinstance(turn, Mapping):
        raise BadRow(f"'{key}' holds {kind_of(turn)} where a message with role and content is expected")
    said, content = (turn.get("from"), turn.get("value")) if "from" in turn else (turn.get("role"), turn.get("content"))
    role = ROLES.get(str(said).lower(), str(said).lower())
    if role == CALL:
        return Message("assistant", "", {"tool_calls": [{"type": "function", "function": _call(content, key)}]})
    if role not in KNOWN_ROLES:
        what = "has no role" if said is None else f"has the role {said!r}"
        raise BadRow(f"a message of '{key}' {what}; expected one of {', '.join(KNOWN_ROLES)}")
    more = {k: v for k, v in turn.items() if k not in ("role", "content", "from", "value") and v is not None}
    return Message(role, _content(content, bool(more.get("tool_calls")), key), more)


def _content(content: object, calls: bool, key: str) -> str:
    """The text of a message: a string, or the texts of a list of parts; none only beside tool calls."""
    if content is None:
        if not calls:
            raise BadRow(f"a message of '{key}' has no content")
        return ""
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping):
                raise BadRow(f"the content of a message of '{key}' holds {kind_of(part)} where a part is expected")
            kind = part.get("type", "text")
            if kind != "text" or not isinstance(part.get("text"), str):
                raise BadRow(f"a message of '{key}' has a part of type {kind}; only text can be trained on")
        return well_formed("".join(part["text"] for part in content), key)
    if not isinstance(content, str):
        raise BadRow(f"the content of a message of '{key}' is {kind_of(content)}; expected text")
    return well_formed(content, key)


def _call(value: object, key: str) -> Json:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, Mapping) or "name" not in found:
        raise BadRow(f"a {CALL} of '{key}' is not the JSON of a call with name and arguments")
    return {"name": found["name"], "arguments": found.get("arguments", {})}


def well_formed(text: str, key: str) -> str:
    """The text itself. Raises BadRow for a lone surrogate, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"'{key}' holds half of a surrogate pair, which is no character") from None
    return text


def kind_of(value: object) -> str:
    """A value's type in a reader's words."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def is_transcript(text: str) -> bool:
    """Whether a text is a dialogue of Human and Assistant turns that ends where the assistant answers."""
    return text.startswith("\n\nHuman:") and text.rstrip().endswith(ASSISTANT.strip())


def chat_of_transcript(text: str) -> Chat:
    """The turns of a transcript as messages, without the open one at its end. Raises BadRow for any other text."""
    if not is_transcript(text):
        raise BadRow("the prompt is no transcript of Human: and Assistant: turns; read it with transcripts: text")
    parts = TURN.split(text)[1:]  # role, content, role, content ...
    turns = [(role, content.strip()) for role, content in zip(parts[::2], parts[1::2], strict=True)][:-1]
    roles = {"Human": "user", "Assistant": "assistant"}
    return Chat(tuple(Message(roles[role], content) for role, content in turns))
