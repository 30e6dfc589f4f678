"""A model's own chat template: what it makes of a conversation, and where in that an answer begins and ends.

render(prompt)              <user>Hi<end>\n<model>
render(prompt + answer)     <user>Hi<end>\n<model>Hello<end>\n
the answer                                        Hello<end>
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import Chat, Message, Response
from gatebench.bench.models.bounds import within

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import Tokenizer, Turn

# Stands for an answer, to see what a template puts around one; no template trims or splits a plain word.
WORD = "gatebench"
REFUSES, OUT_OF_BOUNDS = "the model's chat template refuses it", "the model's chat template is out of bounds"
COMPUTING, A_RENDERING = 10.0, 0.05  # seconds that a template may compute, and what each rendering adds to them
MEMORY = 2**30  # bytes that a rendering may take beyond what the process has
# Characters of a rendered conversation: what a template may add to it, how often it may repeat it, and the most of all.
# Tokenizing takes a second a million, for each row.
ADDED, TIMES, MOST_CHARACTERS = 2**16, 8, 8 * 2**20


class TemplateRefused(Exception):
    """The template does not take a conversation, or takes too much for it; it says what the template said, or what of
    the conversation would be lost. why: that alone."""

    def __init__(self, why: str, how: str = REFUSES) -> None:
        super().__init__(f"{how} ({why})")
        self.why = why


class Rendering:
    """What a tokenizer's template makes of conversations, within bounds: it is a program that comes with the model.

    The seconds are for all conversations, so that one which takes ten for each of 5,000 rows does not hold a plan for
    a day: a template that has used them up is given up, and refuses all that is asked later.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.left, self.given_up = tokenizer, COMPUTING, False

    def __call__(
        self, turns: Sequence[Turn], tools: Sequence[object] = (), generate: bool = False,
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> str:  # fmt: skip
        """The text; more: the template's own variables. Raises TemplateRefused."""
        if self.given_up:
            raise self._too_slow()
        started = time.thread_time()
        try:
            text = within(self.left, MEMORY, lambda: self.tokenizer.apply_chat_template(
                turns, tools=list(tools) or None, tokenize=False, add_generation_prompt=generate, **more
            ))  # fmt: skip
        except TimeoutError:
            self.given_up = True
            raise self._too_slow() from None
        except MemoryError:
            raise TemplateRefused(f"it takes more than {MEMORY / 2**30:g} GiB of memory", OUT_OF_BOUNDS) from None
        except Exception as error:  # whatever a program can raise: it divides by zero, calls itself without an end ...
            raise TemplateRefused((str(error).splitlines() or [type(error).__name__])[0]) from None
        finally:
            self.left = min(COMPUTING, self.left + A_RENDERING - (time.thread_time() - started))
            self.given_up = self.given_up or self.left <= 0
        if len(text) > ADDED and len(text) > (most := _most_characters(turns, tools, more)):
            raise TemplateRefused(f"it makes {len(text):,} characters of what may take {most:,}", OUT_OF_BOUNDS)
        return text

    def _too_slow(self) -> TemplateRefused:
        return TemplateRefused(f"it takes more than {COMPUTING:g} seconds of computing", OUT_OF_BOUNDS)


def _most_characters(*given: object) -> int:
    return min(ADDED + TIMES * len(str(given)), MOST_CHARACTERS)


class ChatTemplate:
    """The template of a tokenizer that has one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self._rendering = tokenizer, Rendering(tokenizer)

    def prompt(self, chat: Chat) -> str:
        """The conversation up to where the assistant's answer begins, as at inference. Raises TemplateRefused."""
        return self._render(chat, chat.messages, generate=True)

    def answered(self, chat: Chat, response: Response) -> str:
        """The conversation with its answer. Raises TemplateRefused, also for tool calls unknown to it."""
        answer = answer_messages(response)
        if any(message.more.get("tool_calls") for message in answer) and "tool_calls" not in self._source(chat):
            raise TemplateRefused("it does not render tool calls")
        return self._render(chat, (*chat.messages, *answer))

    def shared_start(self, chat: Chat) -> str:
        """What prompt(chat) and every answered(chat, ...) begin with: the prompt, but for what a template puts before
        an answer only at inference (an opened block of thoughts)."""
        prompt, answered = self.prompt(chat), self.answered(chat, WORD)
        return next((prompt[:at] for at, letter in enumerate(prompt) if answered[at : at + 1] != letter), prompt)

    @cached_property
    def tail(self) -> str:
        """What the template puts after the content of a last answer."""
        return self.answered(Chat((Message("user", "Hi"),)), WORD).rpartition(WORD)[2]

    @cached_property
    def end(self) -> int | None:
        """The token that ends an assistant's turn: the first special one of the tail; None where there is none."""
        special = {self.tokenizer.eos_token_id, *self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        ids = self.tokenizer(self.tail, add_special_tokens=False)["input_ids"]
        return next((token for token in ids if token in special), None)

    def _source(self, chat: Chat) -> str:
        return self.tokenizer.get_chat_template(None, list(chat.tools) or None)

    def _render(self, chat: Chat, messages: tuple[Message, ...], generate: bool = False) -> str:
        turns = [message.as_turn() for message in messages]
        return self._rendering(turns, chat.tools, generate, chat.template)


def answer_messages(response: Response) -> tuple[Message, ...]:
    """An answer as messages."""
    return (Message("assistant", response),) if isinstance(response, str) else response


def shortened(chat: Chat) -> Iterator[Chat]:
    """The conversation without its first turn, without its first two ...; a system's turn stays, and the last turn."""
    kept = chat.messages[:1] if chat.messages[0].role in ("system", "developer") else ()
    rest = chat.messages[len(kept) :]
    for start in range(1, len(rest)):
        if rest[start].role == "user":
            yield Chat((*kept, *rest[start:]), chat.tools, chat.template)
