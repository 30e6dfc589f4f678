"""What is wrong with a model, read from its files before anything runs: no weight is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.data.readers import LFS
from gatebench.bench.models.tensors import wrong_tensors

SPECIAL_TOKENS = ("eos_token", "pad_token", "bos_token")
VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")

NO_TOKENIZER = "it has no tokenizer; save the one that belongs to it into its folder"


@dataclass(frozen=True)
class Examined:
    """context: the most tokens that the model reads, where it has such a limit; wrong: a sentence for each thing that
    would fail, or train something else, later."""

    context: int | None
    wrong: tuple[str, ...] = ()


def examine(path: str, revision: str | None = None) -> Examined:
    """A local folder, whole; of a model on the hub its configuration and tokenizer."""
    with _quietly():
        if Path(path).is_dir():
            return _examine_folder(Path(path))
        return _examine(path, revision, None)


def _examine_folder(folder: Path) -> Examined:
    if (folder / "adapter_config.json").exists():
        return Examined(None, ("it is an adapter; merge it into its model (peft: merge_and_unload) and save that",))
    weights = [*folder.glob("*.safetensors"), *sorted(folder.glob("*.gguf"))]
    if weights and weights[0].suffix == ".gguf":
        told = f"name the file itself, as {weights[0].name}, and it is converted"
        return Examined(None, (f"it holds weights as GGUF alone; {told}",))
    if not (folder / "config.json").exists():
        return Examined(None, ("it holds no config.json of a Hugging Face model",))
    if not any(folder.glob("*.safetensors")):
        others = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
        told = f"no *.safetensors, only {others[0]}, which could run code" if others else "no *.safetensors"
        return Examined(None, (f"it holds {told}; save the model again with save_pretrained",))
    pointers = [file.name for file in sorted(folder.iterdir()) if file.is_file() and _is_pointer(file)]
    if pointers:
        return Examined(None, (f"{pointers[0]} is only a pointer of Git LFS; fetch the file itself with git lfs pull",))
    return _examine(str(folder), None, folder)


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as start:
        return start.read(len(LFS)) == LFS


def _examine(path: str, revision: str | None, folder: Path | None) -> Examined:
    """folder: where the weights lie, None for weights that are not here yet."""
    from transformers import AutoConfig, AutoModelForCausalLM

    place = {"revision": revision, "trust_remote_code": False, "local_files_only": folder is not None}
    try:
        config = AutoConfig.from_pretrained(path, **place)
        if type(config) not in AutoModelForCausalLM._model_mapping:
            return Examined(None, (f"{config.model_type} is no causal language model that transformers has",))
    except Exception as error:  # broken JSON, an unknown architecture, code of its own: the library has a kind for each
        return Examined(None, (f"its configuration cannot be read ({_in_a_line(error)})",))
    text = config.get_text_config()
    context = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
    rows, pad = getattr(text, "vocab_size", None) or sys.maxsize, getattr(text, "pad_token_id", None)
    if (pad or 0) >= rows:
        told = f"its config.json has pad_token_id {pad} and a vocab_size of {rows}"
        return Examined(context, (f"{told}; a padding id has to be below that, or null",))
    wrong = [] if folder is None else list(_wrong_weights(path))
    if folder and not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        return Examined(context, (*wrong, NO_TOKENIZER))
    return Examined(context, (*wrong, *_wrong_tokenizer(path, place, rows)))


def _wrong_weights(path: str) -> Iterator[str]:
    """Names and shapes of all tensors against those of the architecture, by the loader itself onto no device."""
    from transformers import AutoModelForCausalLM

    try:
        _, loaded = AutoModelForCausalLM.from_pretrained(
            path, device_map="meta", use_safetensors=True, local_files_only=True, output_loading_info=True,
            ignore_mismatched_sizes=True, trust_remote_code=False,
        )  # fmt: skip
    except Exception as error:  # files of weights that are missing, cut off, or pointers to what was not fetched
        yield f"its weights cannot be read ({_in_a_line(error)})"
        return
    if sentence := wrong_tensors(loaded["missing_keys"], loaded["unexpected_keys"]):
        yield sentence
    for name, found, wanted in sorted(loaded["mismatched_keys"])[:1]:
        yield f"{name} is {list(found)} in its weights and {list(wanted)} by its config.json"


def _wrong_tokenizer(path: str, place: Mapping[str, object], rows: int) -> Iterator[str]:
    """rows: of the embeddings. A vocabulary that is padded beyond the tokenizer is fine."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **place)
    except Exception as error:
        yield f"its tokenizer cannot be read ({_in_a_line(error)})"
        return
    words: dict[str, int] = tokenizer.get_vocab()
    if (
        not words.keys() - tokenizer.get_added_vocab().keys()
    ):  # transformers makes an empty one where there is no file of a vocabulary
        yield NO_TOKENIZER
        return
    if tokenizer.eos_token_id is None:
        yield "its tokenizer has no end token, so that no response would end; set eos_token in tokenizer_config.json"
    beyond = {word: token for word, token in words.items() if token >= rows}
    used = {word for role in SPECIAL_TOKENS if (word := getattr(tokenizer, role)) in beyond}
    special = {str(word) for word in tokenizer.added_tokens_decoder.values() if word.special}
    used |= {word for word in beyond if word not in special or word in str(tokenizer.chat_template or "")}
    if used:  # a further special token that no text of ours has, as of images, does no harm
        last = max(used, key=beyond.__getitem__)
        yield (
            f"its tokenizer has {len(used)} tokens beyond the {rows} rows of its embeddings, up to {last!r} with id "
            f"{beyond[last]}; resize the embeddings (resize_token_embeddings) or take the tokenizer that belongs to it"
        )


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's own report, of what is said here in a sentence."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
