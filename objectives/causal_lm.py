"""What we ask of a causal language model and its tokenizer; those of transformers, wrapped by peft or not, have it all.

B rows of T tokens, H hidden numbers, V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self, cast, overload

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter
    from torch.nn.attention.flex_attention import BlockMask

Turn = Mapping[str, object]  # role, content and what else a template reads of one message of a chat


class CausalLMConfig(Protocol):
    model_type: str
    vocab_size: int
    max_position_embeddings: int
    _attn_implementation: str

    def get_text_config(self) -> CausalLMConfig:
        """What concerns the language model, where it is a part of the model."""


class OwnGeneration(Protocol):
    """How a model answers where nobody says; eos_token_id: every token that ends an answer."""

    eos_token_id: int | list[int] | None

    def validate(self, *, strict: bool) -> None:
        """Raises ValueError for settings that contradict each other."""


class LMHead(Protocol):
    """The last linear map; weight: [V, H], bias: [V] or None."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, hidden: Tensor, /) -> Tensor:
        """[..., H] -> logits [..., V]."""


class Embedding(Protocol):
    """The table of the words' vectors; weight: [V, H]."""

    weight: Tensor


class KeyValueCache(Protocol):
    """Keys and values of rows that were read already."""

    layers: list[object]

    def batch_select_indices(self, indices: Tensor) -> None: ...


class BackboneOutput(Protocol):
    """last_hidden_state: [B, T, H]."""

    last_hidden_state: Tensor
    past_key_values: KeyValueCache | None


class Backbone(Protocol):
    """A model without its head."""

    def __call__(
        self,
        *,
        input_ids: Tensor,
        attention_mask: Tensor | BlockMask,
        position_ids: Tensor | None = None,
        past_key_values: KeyValueCache | None = None,
        use_cache: bool,
    ) -> BackboneOutput: ...


class CausalLMOutput(Protocol):
    """logits: [B, T, V]."""

    logits: Tensor


class GenerateOutput(Protocol):
    """sequences: [B, T] prompts and answers; logits: [B, V] of each answered token."""

    sequences: Tensor
    logits: tuple[Tensor, ...]


class CausalLM(Protocol):
    config: CausalLMConfig
    generation_config: OwnGeneration
    base_model_prefix: str
    training: bool
    _supports_flex_attn: bool

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(
        self, *, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool = True
    ) -> CausalLMOutput: ...
    def generate(self, **settings: object) -> GenerateOutput: ...
    def get_output_embeddings(self) -> LMHead: ...
    def get_input_embeddings(self) -> Embedding: ...

    def eval(self) -> Self: ...
    def float(self) -> Self: ...
    def train(self, mode: bool = True) -> Self: ...
    def parameters(self) -> Iterator[Parameter]: ...
    def num_parameters(self) -> int: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...
    def set_attn_implementation(self, attn_implementation: str) -> None: ...
    def save_pretrained(self, save_directory: Path) -> None: ...
    @classmethod
    def from_pretrained(cls, place: str, *, dtype: torch.dtype) -> Self: ...


class AdaptedLM(CausalLM, Protocol):
    """peft's wrapper of a model."""

    def get_base_model(self) -> CausalLM: ...
    def disable_adapter(self) -> AbstractContextManager[object]: ...


class Tokenizer(Protocol):
    eos_token_id: int | None
    pad_token_id: int | None
    chat_template: str | Mapping[str, str] | None

    @property
    def all_special_ids(self) -> list[int]: ...
    @property
    def added_tokens_decoder(self) -> Mapping[int, object]: ...

    @overload
    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Mapping[str, list[int]]: ...
    @overload
    def __call__(self, text: list[str]) -> Mapping[str, list[list[int]]]: ...

    def apply_chat_template(
        self,
        conversation: Sequence[Turn],
        *,
        tools: Sequence[object] | None,
        tokenize: Literal[False],
        add_generation_prompt: bool,
        **more: object,
    ) -> str: ...
    def get_chat_template(self, chat_template: str | None, tools: Sequence[object] | None) -> str: ...
    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]: ...
    def get_added_vocab(self) -> Mapping[str, int]: ...
    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...
    def save_pretrained(self, save_directory: Path) -> object: ...


def backbone_of(model: CausalLM) -> Backbone:
    backbone: Backbone = getattr(model, model.base_model_prefix)
    return backbone


def without_adapter(model: CausalLM) -> CausalLM:
    """The network inside peft's wrapper, its adapter in place; the model itself where there is none."""
    return cast(AdaptedLM, model).get_base_model() if hasattr(model, "peft_config") else model


def is_out_of_memory(error: BaseException) -> bool:
    """A GPU's OutOfMemoryError, or the plain RuntimeError of torch's allocator on a CPU."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
