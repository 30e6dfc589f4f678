"""One row of any known layout -> Pair or Probe; a row that cannot be read rightly is a BadRow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches

from gatebench.bench.data.conversation import BadRow, chat_of_transcript, is_messages, kind_of, messages_of, well_formed
from gatebench.bench.data.pairs import ASSISTANT, Chat, Message, Pair, Probe, Response, Text
from gatebench.bench.keys import Json
from gatebench.objectives.names import nearest

OWN_COLUMNS = ("prompt", "chosen", "rejected")
CONVERSATIONS = ("conversations", "messages")  # columns that hold the prompt's turns
PROMPT_NAMES = ("question", "instruction", "query", "input")  # what others call a prompt
# of a probing row, what is no response; chosen_selfr holds annotation markup
NOT_RESPONSES = ("prompt", "source", "chosen_selfr")
Columns = Mapping[str, str]  # ours -> the data set's
RawRow = Mapping[str, Json]


def to_pair(row: object, columns: Columns | None = None, transcripts: str = "text") -> Pair:
    """prompt + chosen + rejected, plain or chat; or two conversations that share all but their last turns.

    transcripts: "messages" reads plain Human/Assistant dialogues as conversations. Raises BadRow.
    """
    known = _renamed(row, columns or {})
    for key in ("chosen", "rejected"):
        if known.get(key) is None:
            raise BadRow(f"no key '{key}'; {_mapping(key, known)}")
    chosen, rejected = known["chosen"], known["rejected"]
    if is_messages(chosen) != is_messages(rejected):
        raise BadRow(f"'chosen' is {kind_of(chosen)} and 'rejected' {kind_of(rejected)}; both must be of one form")
    pair = _of_messages(known) if is_messages(chosen) else _of_texts(known)
    if transcripts == "messages" and isinstance(pair.prompt, str):
        sides = (side.strip() for side in (pair.chosen, pair.rejected) if isinstance(side, str))
        pair = Pair(chat_of_transcript(pair.prompt), *sides)
    if pair.chosen == pair.rejected:
        raise BadRow("chosen and rejected are equal")
    return pair


def to_probe(row: object, columns: Columns | None = None, transcripts: str = "text") -> Probe:
    """A probing row: prompt, chosen and rejected, and any further column of text is a probe kind. Raises BadRow."""
    pair = to_pair(row, columns, transcripts)
    further = _renamed(row, columns or {}).items()
    kinds: dict[str, Response] = {
        key: _like(well_formed(value, key), pair) for key, value in further
        if isinstance(value, str) and key not in (*NOT_RESPONSES, *(columns or {}).values())
    }  # fmt: skip
    if not all(value.strip() for value in kinds.values() if isinstance(value, str)):
        raise BadRow("an empty probe")
    return Probe(pair.prompt, {**kinds, "chosen": pair.chosen, "rejected": pair.rejected})


def _renamed(row: object, columns: Columns) -> RawRow:
    """The row with our names for its columns, and a conversation's turns as its prompt."""
    if not isinstance(row, Mapping):
        raise BadRow(f"the row is {kind_of(row)}; expected an object with prompt, chosen and rejected")
    for ours, theirs in columns.items():
        if theirs not in row:
            raise BadRow(f"no column {theirs!r}, which columns names for {ours}; {nearest(theirs, row)}")
    found = {**row, **{ours: row[theirs] for ours, theirs in columns.items()}}
    turns = next((found[name] for name in CONVERSATIONS if found.get(name)), None)
    return found if turns is None or found.get("prompt") else {**found, "prompt": turns}


def _mapping(key: str, row: RawRow) -> str:
    """A hint at the column that holds what is missing, and how to say so."""
    found: dict[str, str] = {}
    for ours in OWN_COLUMNS:
        if row.get(ours) is None:
            asked = [name for name in row if name in PROMPT_NAMES] if ours == "prompt" else []
            close = [name for name in row if ours in str(name)] or get_close_matches(ours, map(str, row), n=1)
            if asked or close:
                found[ours] = str([*asked, *close][0])
    if key not in found:
        return nearest(key, row)
    pairs = ", ".join(f"{ours}: {theirs}" for ours, theirs in found.items())
    return f"did you mean {found[key]!r}? Say so to the data set: columns: {{{pairs}}}"


def _of_texts(row: RawRow) -> Pair:
    prompt = row.get("prompt")
    chosen, rejected = _string(row["chosen"], "chosen"), _string(row["rejected"], "rejected")
    if prompt is None:
        cut = chosen.rfind(ASSISTANT) + len(ASSISTANT)
        if cut < len(ASSISTANT) or rejected[:cut] != chosen[:cut]:
            raise BadRow(
                "no key 'prompt', and chosen and rejected do not share one up to the last 'Assistant:'; "
                + _mapping("prompt", row)
            )
        prompt, chosen, rejected = chosen[:cut], chosen[cut:], rejected[cut:]
    return Pair(_prompt(prompt, row), _string(chosen, "chosen"), _string(rejected, "rejected"))


def _of_messages(row: RawRow) -> Pair:
    """The shared start of both conversations belongs to the prompt; each side's whole rest is its response."""
    chosen, rejected = messages_of(row["chosen"], "chosen"), messages_of(row["rejected"], "rejected")
    prompt: tuple[Message, ...] = ()
    if is_messages(row.get("prompt")):
        prompt = messages_of(row["prompt"], "prompt")
        if chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        shared = 0
        while (found := _first_turns(chosen, rejected, shared)) and found[0].role != "assistant":
            shared += 1
    else:
        shared = 0
        while _first_turns(chosen, rejected, shared) and shared + 1 < min(len(chosen), len(rejected)):
            shared += 1
        if shared == 0 and row.get("prompt"):
            prompt = (Message("user", _string(row["prompt"], "prompt")),)
    prompt, chosen, rejected = prompt + chosen[:shared], chosen[shared:], rejected[shared:]
    if not prompt:
        raise BadRow("chosen and rejected share no turn, and there is no prompt")
    return Pair(_chat(prompt, row), _answer(chosen, "chosen"), _answer(rejected, "rejected"))


def _first_turns(chosen: tuple[Message, ...], rejected: tuple[Message, ...], at: int) -> tuple[Message, ...]:
    """The message that both sides have at a place, if they do."""
    return chosen[at : at + 1] if chosen[at : at + 1] == rejected[at : at + 1] else ()


def _answer(messages: tuple[Message, ...], key: str) -> Response:
    if not messages or messages[-1].role != "assistant":
        whose = messages[-1].role if messages else "prompt"
        raise BadRow(f"'{key}' ends in the turn of the {whose}; there is nothing of the assistant's to train on")
    if messages[0].role != "assistant":
        raise BadRow(f"the histories of chosen and rejected part in a turn of the {messages[0].role}")
    alone = messages[0] if len(messages) == 1 else None
    if alone is None or alone.more:
        return messages
    return _string(alone.content, key)


def _chat(messages: tuple[Message, ...], row: RawRow) -> Chat:
    """tools, system: columns of TRL's and of LLaMA-Factory's layouts."""
    system = row.get("system")
    if isinstance(system, str) and system.strip() and messages[0].role != "system":
        messages = (Message("system", system), *messages)
    tools, template = row.get("tools") or (), row.get("chat_template_kwargs") or {}
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError:
            raise BadRow("'tools' is not JSON") from None
    if not isinstance(tools, list | tuple) or not isinstance(template, Mapping):
        raise BadRow("'tools' must be a list and 'chat_template_kwargs' an object")
    return Chat(messages, tuple(tools), {key: value for key, value in template.items() if value is not None})


def _prompt(prompt: Json, row: RawRow) -> Text:
    return _chat(messages_of(prompt, "prompt"), row) if prompt and is_messages(prompt) else _string(prompt, "prompt")


def _string(value: object, key: str) -> str:
    if value is not None and not isinstance(value, str) and not is_messages(value):
        raise BadRow(f"'{key}' is {kind_of(value)}; expected text")
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"'{key}' is empty")
    return well_formed(value, key)


def _like(text: str, pair: Pair) -> str:
    """Start with a space where the chosen response does, and never in a conversation, so that first tokens are
    comparable."""
    if isinstance(pair.prompt, Chat):
        return text.strip()
    return f" {text}" if pair.chosen[:1] == " " and text[:1] != " " else text
