"""A model's own chat template: what it makes of a conversation, and where in that an answer begins and ends.

render(prompt)              <user>Hi<end>\n<model>
render(prompt + answer)     <user>Hi<end>\n<model>Hello<end>\n
the answer                                        Hello<end>
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import Chat, Message, Response

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import Tokenizer

# Stands for an answer, to see what a template puts around one; no template trims or splits a plain word.
WORD = "gatebench"
REFUSES = "the model's chat template refuses it"


class TemplateRefused(Exception):
    """The template does not take a conversation; it says what the template said, or what of it would be lost."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{REFUSES} ({why})")


class ChatTemplate:
    """The template of a tokenizer that has one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

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
        import jinja2

        try:
            return self.tokenizer.apply_chat_template(
                [message.as_turn() for message in messages], tools=list(chat.tools) or None, tokenize=False,
                add_generation_prompt=generate, **chat.template,
            )  # fmt: skip
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise TemplateRefused((str(error).splitlines() or [type(error).__name__])[0]) from None


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
