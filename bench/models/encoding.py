"""Text -> token ids. Every response to a prompt continues the very same prompt tokens (Ren & Sutherland's protocol).

Conversations are what the model's own chat template makes of them: prompt = template(prompt), response =
template(prompt + response) without it, up to and including the token that ends the turn. Plain text is tokenized as
TRL does, jointly, but where that would merge the end of the prompt with the response: there they are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gatebench.bench.data.adapters import load, refuse_above
from gatebench.bench.data.pairs import Chat, Dropped, Message, Pair, Probe, Response, Text, plain, plain_response
from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import UserError
from gatebench.bench.models.chat_template import ChatTemplate, TemplateRefused, answer_messages, shortened
from gatebench.objectives.causal_lm import Tokenizer

# Texts behind which a text is tokenized as it would be anywhere, where it cannot be tokenized behind its prompt.
GUARDS = ("\n", ":", "0", "a")


@dataclass(frozen=True)
class Lengths:
    """max_length tokens of prompt and response; prompts keep their last max_prompt_length tokens, responses
    their first ones. Without max_prompt_length a prompt that fills max_length is dropped."""

    max_length: int
    max_prompt_length: int | None = None


@dataclass(frozen=True)
class EncodedPair:
    """learned: which tokens of a side are the assistant's own, where others stand between its messages."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    learned: Mapping[str, list[bool]] = field(default_factory=dict)

    def own(self, side: str) -> list[bool]:
        """Which tokens of "chosen" or "rejected" are learned."""
        return self.learned.get(side) or [True] * len(getattr(self, side))


@dataclass(frozen=True)
class EncodedProbe:
    """learned: as of an EncodedPair, by kind."""

    prompt: list[int]
    responses: dict[str, list[int]]
    learned: Mapping[str, list[bool]] = field(default_factory=dict)

    def gaps(self) -> Iterator[tuple[int, list[bool]]]:
        """`learned` by the number of the response."""
        return ((number, self.learned[kind]) for number, kind in enumerate(self.responses) if kind in self.learned)


@dataclass(frozen=True)
class _Response:
    """Token ids, and which of them are the assistant's."""

    ids: list[int]
    learned: list[bool]


class Unfit(Exception):
    """A row that cannot be encoded; the text says why."""


@dataclass(frozen=True)
class _Prompt:
    """A prompt ready for its responses. text: what the responses are tokenized behind, and own: its ids; chat: of a
    conversation what is left of it; ids: with the first token, and cut to its length."""

    text: str
    own: list[int]
    chat: Chat | None
    ids: list[int]


class Encoder:
    """A tokenizer with the lengths of a recipe."""

    def __init__(self, tokenizer: Tokenizer, lengths: Lengths) -> None:
        self.tokenizer, self.lengths = tokenizer, lengths
        self.template = ChatTemplate(tokenizer) if tokenizer.chat_template else None

    def prompt(self, text: Text) -> list[int] | None:
        """Token ids for an answer to be generated, or None where no room for one would be left."""
        try:
            return self._prompt(text, to_answer=True).ids
        except (Unfit, TemplateRefused):
            return None

    def training_pairs(self, source: DataSource, most: int | None = None) -> tuple[list[EncodedPair], list[Dropped]]:
        """The first `most` training pairs of a data set, encoded. Raises UserError where more than its max_dropped of
        them cannot be."""
        rows = load(source).train[:most]
        found, dropped = self.pairs(rows)
        refuse_above(source, dropped, len(rows))
        return found, dropped

    def pairs(self, rows: Sequence[Pair]) -> tuple[list[EncodedPair], list[Dropped]]:
        """Encoded pairs, and the rows that could not be encoded."""
        kept, dropped = [], []
        for number, row in enumerate(rows):
            try:
                prompt = self._prompt(row.prompt)
                sides = {"chosen": row.chosen, "rejected": row.rejected}
                found = {side: self._response(text, row.prompt, prompt) for side, text in sides.items()}
                kept.append(EncodedPair(prompt.ids, found["chosen"].ids, found["rejected"].ids, _gaps(found)))
            except (Unfit, TemplateRefused) as error:
                dropped.append(Dropped(row.place or f"pair {number}", str(error)))
        return kept, dropped

    def probes(self, rows: Sequence[Probe]) -> list[tuple[int, EncodedProbe]]:
        """Encoded probes with the index of their row; rows that cannot be encoded are left out."""
        found = []
        for number, row in enumerate(rows):
            try:
                prompt = self._prompt(row.prompt)
                own = {kind: self._response(text, row.prompt, prompt) for kind, text in row.responses.items()}
                ids = {kind: response.ids for kind, response in own.items()}
                found.append((number, EncodedProbe(prompt.ids, ids, _gaps(own))))
            except (Unfit, TemplateRefused):
                continue
        return found

    def _prompt(self, text: Text, to_answer: bool = False) -> _Prompt:
        if isinstance(text, Chat) and self.template:
            found = self._chat_prompt(text, self.template, to_answer)
        else:
            whole, most = plain(text), self.lengths.max_prompt_length
            ids = own = self._ids(whole)
            start = [] if ids[: len(self._start)] == self._start else self._start
            if most and len(start) + len(ids) > most:
                start = self._start  # a model without its first token is another model
                ids = ids[len(ids) - max(0, most - len(start)) :]
            found = _Prompt(whole, own, None, [*start, *ids])
        if not found.ids:
            raise Unfit("the prompt has no tokens")
        if len(found.ids) >= self.lengths.max_length:
            raise Unfit(f"the prompt fills max_length {self.lengths.max_length}")
        return found

    def _chat_prompt(self, chat: Chat, template: ChatTemplate, to_answer: bool) -> _Prompt:
        """Cut from the left at the start of a turn, so that no header is cut through."""
        most = self.lengths.max_prompt_length
        for some in (chat, *(shortened(chat) if most else ())):
            text = template.prompt(some) if to_answer else template.shared_start(some)
            ids = self._ids(text)
            if not most or len(ids) <= most:
                return _Prompt(text, ids, some, ids)
        return self._last_turn(some, template, to_answer, most or 0)

    def _last_turn(self, chat: Chat, template: ChatTemplate, to_answer: bool, most: int) -> _Prompt:
        """The prompt of one turn that is too long by itself: its content keeps its end."""
        *before, last = chat.messages
        content = self._ids(last.content)
        while content:
            content = content[1:] if len(content) < 8 else content[len(content) // 8 :]
            text = self.tokenizer.decode(content, skip_special_tokens=False)
            some = Chat((*before, Message(last.role, text, last.more)), chat.tools, chat.template)
            rendered = template.prompt(some) if to_answer else template.shared_start(some)
            ids = self._ids(rendered)
            if len(ids) <= most:
                return _Prompt(rendered, ids, some, ids)
        raise Unfit(f"the turns' headers alone fill max_prompt_length {most}")

    def _response(self, response: Response, whole: Text, prompt: _Prompt) -> _Response:
        if prompt.chat and self.template:
            found = self._answer(response, prompt, prompt.chat, self.template)
        else:
            if not isinstance(response, str):
                raise Unfit("the model has no chat template, and several messages or tool calls need one")
            ids = self._ended(self._continued(prompt.text, prompt.own, plain_response(whole, response)))
            found = _Response(ids, [True] * len(ids))
        room = self.lengths.max_length - len(prompt.ids)
        return _Response(found.ids[:room], found.learned[:room])

    def _answer(self, response: Response, prompt: _Prompt, chat: Chat, template: ChatTemplate) -> _Response:
        """The assistant's turns, each up to the token that ends it, with what others say between them."""
        messages = answer_messages(response)
        rendered = template.answered(chat, messages)
        starts = [prompt.text, *_later_starts(chat, messages, template)]
        if not all(rendered.startswith(start) for start in starts):
            raise TemplateRefused("it renders the prompt otherwise where this answer follows")
        end = template.end
        if end is None:
            if len(messages) > 1:
                raise Unfit("the chat template marks no end of a turn, so several messages cannot be told apart")
            answer = rendered[len(prompt.text) :].removesuffix(template.tail)
            ids = self._ended(self._continued(prompt.text, prompt.own, answer))
            return _Response(ids, [True] * len(ids))
        ids, learned = [], list[bool]()
        for start, stop in zip(starts, [*map(len, starts[1:]), len(rendered)], strict=True):
            turn = self._continued(start, [*prompt.own, *ids], rendered[len(start) : stop])
            own = turn.index(end) + 1 if end in turn else len(turn)
            kept = turn[:own] if stop == len(rendered) else turn
            ids += kept
            learned += [at < own for at in range(len(kept))]
        return _Response(ids, learned)

    def _ended(self, ids: list[int]) -> list[int]:
        """With the end token behind it, if it is not there already."""
        end = self.tokenizer.eos_token_id
        if end is None:
            raise UserError("the tokenizer has no end token, so responses could not end; give it an eos_token")
        return ids if ids[-1:] == [end] else [*ids, end]

    def _continued(self, start: str, own: list[int], text: str) -> list[int]:
        """Token ids of a text behind a start whose ids, own, stay as they are."""
        if not self._marks_words and text[:1].isspace():
            return self._ids(text)  # where a space begins a token, nothing merges across it
        before = [(start, own)]
        before += [(guard, self._ids(guard)) for guard in GUARDS if self._marks_words]
        for words, ids in before:
            joint = self._ids(words + text)
            if ids and joint[: len(ids)] == ids:
                return joint[len(ids) :]
        return self._ids(text)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def _start(self) -> list[int]:
        """What the tokenizer puts before every text: a BOS token, or nothing."""
        own, whole = self._ids("a"), list(self.tokenizer("a")["input_ids"])
        return next((whole[:at] for at in range(len(whole)) if whole[at : at + len(own)] == own), [])

    @cached_property
    def _marks_words(self) -> bool:
        """Whether a text by itself is tokenized with a space before it that it has not got (sentencepiece)."""
        token = self.tokenizer.convert_ids_to_tokens(self._ids("a")[:1])[0]
        return token[:1] in ("\u2581", "\u0120")


def unread(source: DataSource, what: str, kept: int, total: int) -> list[str]:
    """A sentence where prompts could not be encoded; what: they are, in the plural."""
    if kept == total:
        return []
    return [
        f"data set {source.name}: {total - kept} of {total} {what} are left out: their prompts leave no room for a "
        "response, or the chat template refuses them"
    ]


def _gaps(responses: Mapping[str, _Response]) -> dict[str, list[bool]]:
    """Which tokens are learned, of the responses in which others stand between the assistant's."""
    return {kind: response.learned for kind, response in responses.items() if not all(response.learned)}


def _later_starts(chat: Chat, messages: tuple[Message, ...], template: ChatTemplate) -> Iterator[str]:
    """The conversation up to each of an answer's own messages but the first."""
    for number, message in enumerate(messages):
        if number and message.role == "assistant":
            yield template.shared_start(Chat((*chat.messages, *messages[:number]), chat.tools, chat.template))
