"""`builtin:ladder/FAMILY-SIZE`: models small enough to train from scratch here, at four scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PretrainedConfig, PreTrainedTokenizerFast

# Of the shapes that changed: heads of 32, which vLLM's processor build serves, where 16 were.
SHAPE_VERSIONS = {"0.3m": 2}
PREFIX = "builtin:ladder/"
VOCABULARY, CONTEXT = 2048, 1024
END, PAD = "<|end|>", "<|pad|>"
CHAT = (
    "{% for m in messages %}{{ '\n\nAssistant: ' if m['role'] == 'assistant' else '\n\nHuman: ' }}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int

    @property
    def parameters(self) -> int:
        """Approximate: two embeddings and 12 h^2 a layer (GPT-NeoX; the other families are within 5 %)."""
        return 2 * VOCABULARY * self.hidden + 12 * self.layers * self.hidden**2


SIZES = {"0.3m": Shape(64, 2, 2), "1.3m": Shape(128, 4, 4), "4m": Shape(256, 4, 8), "10m": Shape(384, 5, 8)}
FAMILIES = ("neox", "llama", "qwen")
NAMES = tuple(f"{PREFIX}{family}-{size}" for family in FAMILIES for size in SIZES)


def _size_of(path: str) -> str:
    """The size of a built-in; its path must be one of NAMES."""
    return path.removeprefix(PREFIX).split("-")[1]


def shape_of(path: str) -> Shape:
    return SIZES[_size_of(path)]


def shape_version(path: str) -> int:
    """Raised where the same path stands for another model than before: part of its stages' keys."""
    return SHAPE_VERSIONS.get(_size_of(path), 1)


def make_config(path: str, context: int = CONTEXT) -> PretrainedConfig:
    """The transformers config of a built-in, vocabulary and special tokens as make_tokenizer gives them."""
    from transformers import GPTNeoXConfig, LlamaConfig, Qwen2Config

    family, shape = path.removeprefix(PREFIX).split("-")[0], shape_of(path)
    shared = {
        "vocab_size": VOCABULARY, "hidden_size": shape.hidden, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "max_position_embeddings": context, "tie_word_embeddings": False,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
    }  # fmt: skip
    if family == "neox":
        return GPTNeoXConfig(**shared, intermediate_size=4 * shape.hidden, attention_dropout=0.0, hidden_dropout=0.0)
    # three matrices in the gated feed-forward: 8/3 h keeps the parameters of two of 4 h
    shared |= {"intermediate_size": round(8 * shape.hidden / 3 / 16) * 16, "num_key_value_heads": shape.heads}
    return LlamaConfig(**shared) if family == "llama" else Qwen2Config(**shared)


def make_tokenizer(corpus: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 2,048 entries trained on the corpus, with an end and a padding token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=[END, PAD], initial_alphabet=sorted(alphabet), show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, bos_token=END, pad_token=PAD)
    tokenizer.chat_template = CHAT
    return tokenizer
