"""The tokenizer of a GGUF file: transformers' own reading of it, with what that reading leaves out put back.

What each name of `tokenizer.ggml.pre` means is in llama.cpp's src/llama-vocab.cpp. Those names are taken that are
known to give here what they give there; any other is refused, since a text that is split otherwise is another text to
the model, and nothing fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gatebench.bench.models.gguf.header import Header, UnreadableGguf, Value
from gatebench.objectives.names import nearest

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

VOCABULARY_KIND, PRE, ADD_BOS, ADD_EOS = (
    f"tokenizer.ggml.{name}" for name in ("model", "pre", "add_bos_token", "add_eos_token")
)  # fmt: skip
TEMPLATE = "tokenizer.chat_template"
BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"  # byte-level BPE; sentencepiece
# How each splits. words: GPT-2's expression, digits: the same behind every digit for itself; the others are set by the
# reader. merged: whether a word of the vocabulary is taken whole, whatever its merges, and a text begins with BOS.
WORDS, DIGITS, READ = "words", "digits", "read"
SPLITS = {
    "gpt-2": WORDS, "smollm": DIGITS, "starcoder": DIGITS, "qwen2": READ, "llama-bpe": READ, "llama3": READ,
    "llama-v3": READ,
}  # fmt: skip
COMPOSED = ("qwen2",)  # normalised to NFC, as transformers' Qwen2Tokenizer does
MERGED = ("llama-bpe", "llama3", "llama-v3")
GEMMA = "gemma3"
SPECIAL_TOKEN_KEYS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def wrong_vocabulary(header: Header) -> Iterator[str]:
    """A sentence for what makes a file's tokenizer another one than the model's, or none."""
    kind, pre = header.text(VOCABULARY_KIND), header.text(PRE)
    tokens = _texts(header, "tokens")
    if not tokens or len(tokens) != len(_list(header, "tokens")):
        yield "it has no vocabulary (tokenizer.ggml.tokens)"
        return
    if kind not in (BYTE_LEVEL, SENTENCEPIECE):
        known = f"{BYTE_LEVEL} and {SENTENCEPIECE} are"
        yield f"its tokenizer is {kind!r} ({VOCABULARY_KIND}), which is not converted; {known}"
    elif kind == BYTE_LEVEL and pre not in SPLITS:
        yield f"its text is split in a way that is not known here, {PRE} {pre!r}: {nearest(pre, list(SPLITS))}"
    elif kind == SENTENCEPIECE and bool(header.metadata.get("tokenizer.ggml.add_space_prefix", True)) == (
        header.architecture == GEMMA
    ):
        yield f"its tokenizer.ggml.add_space_prefix is not that of {header.architecture} models, which would be lost"
    if len(set(tokens)) != len(tokens):
        yield "its vocabulary has a token twice"
    if kind == BYTE_LEVEL and not all(" " in pair for pair in _texts(header, "merges")):
        yield "its merges (tokenizer.ggml.merges) are not pairs of tokens"
    if kind == SENTENCEPIECE and len(_list(header, "scores")) != len(tokens):
        yield "it does not have a score for every token (tokenizer.ggml.scores)"
    if _list(header, "token_type") and len(_list(header, "token_type")) != len(tokens):
        yield "it does not have a type for every token (tokenizer.ggml.token_type)"
    for name in SPECIAL_TOKEN_KEYS.values():
        found = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if found is not None and not (isinstance(found, int) and 0 <= found < len(tokens)):
            yield f"its {name} token is {found!r}, and its vocabulary has {len(tokens)}"
    if header.metadata.get("tokenizer.ggml.eos_token_id") is None:
        yield "it has no end token (tokenizer.ggml.eos_token_id), so that no response would end"


def tokenizer_of(header: Header) -> PreTrainedTokenizerFast:
    """The tokenizer of a file without wrong_vocabulary. Raises UnreadableGguf."""
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf import GGUF_TOKENIZER_MAPPING, convert_gguf_tokenizer

    names = GGUF_TOKENIZER_MAPPING["tokenizer"].items()
    given = {own: _plain(value) for key, own in names if (value := header.metadata.get(f"tokenizer.{key}")) is not None}
    try:
        backend = _own_words(convert_gguf_tokenizer(header.architecture, given)[0], _texts(header, "tokens"))
    except UnreadableGguf:
        raise
    except Exception as error:  # of whatever kind the libraries have for a vocabulary that contradicts itself
        raise UnreadableGguf(f"its tokenizer cannot be built ({' '.join(str(error).split())[:200]})") from None
    special = {role: _token(header, name) for role, name in SPECIAL_TOKEN_KEYS.items()}
    special["pad_token"] = special["pad_token"] or special["eos_token"]
    _put_back(backend, header, special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False,
        **{role: token for role, token in special.items() if token is not None},
    )  # fmt: skip
    tokenizer.chat_template = header.text(TEMPLATE) or None
    return tokenizer


def _own_words(backend: Backend, tokens: tuple[str, ...]) -> Backend:
    """Without the special tokens that transformers' classes add where a vocabulary lacks them: beyond its end, or in
    the place of another. Raises UnreadableGguf where the ids are not the file's all the same."""
    from tokenizers import Tokenizer

    strange = {
        word.content for at, word in backend.get_added_tokens_decoder().items() if tokens[at:][:1] != (word.content,)
    }
    if strange:
        state = json.loads(backend.to_str())
        state["added_tokens"] = [word for word in state["added_tokens"] if word["content"] not in strange]
        backend = Tokenizer.from_str(json.dumps(state))
    if (size := backend.get_vocab_size(with_added_tokens=True)) != len(tokens):
        raise UnreadableGguf(f"its vocabulary of {len(tokens)} tokens becomes one of {size} in transformers")
    return backend


def _put_back(backend: Backend, header: Header, special: dict[str, str | None]) -> None:
    """What the reader loses: digits apart, whole words before merges, NFC, the space before a text that has one there
    already, and the tokens around a text."""
    from tokenizers import normalizers, pre_tokenizers, processors

    pre = header.text(PRE) if header.text(VOCABULARY_KIND) == BYTE_LEVEL else ""
    if SPLITS.get(pre) == DIGITS:
        digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    elif header.text(VOCABULARY_KIND) == SENTENCEPIECE and header.architecture != GEMMA:
        steps = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        backend.normalizer, backend.pre_tokenizer = normalizers.Sequence(steps), None
    if pre in COMPOSED:
        backend.normalizer = normalizers.NFC()
    if pre in MERGED:
        backend.model.ignore_merges = True
    # where the file does not say, as llama.cpp has it
    bos = header.metadata.get(ADD_BOS, header.text(VOCABULARY_KIND) == SENTENCEPIECE or pre in MERGED)
    before, after = (
        special["bos_token"] if bos else None,
        special["eos_token"] if header.metadata.get(ADD_EOS) else None,
    )
    around = [token for token in (before, after) if token is not None]
    if around:

        def enclosed(text: str, kind: int) -> list[str]:
            return [f"{part}:{kind}" for part in (before, text, after) if part is not None]

        ids = [(token, backend.token_to_id(token)) for token in dict.fromkeys(around)]
        backend.post_processor = processors.TemplateProcessing(
            single=enclosed("$A", 0), pair=[*enclosed("$A", 0), *enclosed("$B", 1)], special_tokens=ids
        )


def _token(header: Header, name: str) -> str | None:
    found = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
    return _texts(header, "tokens")[found] if isinstance(found, int) else None


def _plain(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value


def _list(header: Header, name: str) -> tuple[int | float | str, ...]:
    found = header.metadata.get(f"tokenizer.ggml.{name}", ())
    return found if isinstance(found, tuple) else ()


def _texts(header: Header, name: str) -> tuple[str, ...]:
    return tuple(text for text in _list(header, name) if isinstance(text, str))
