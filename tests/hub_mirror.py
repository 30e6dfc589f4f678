"""A mirror of the hub as its cache lies on a disk, with what suites/scale_vs_gate.yaml --profile llm_rehearsal names:
models of the real ones' architectures and chat templates at random, and data sets in the real ones' files and columns.

    python -m tests.hub_mirror FOLDER
    HF_HOME=FOLDER HF_HUB_OFFLINE=1 bench run suites/scale_vs_gate.yaml --profile llm_rehearsal
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests.tokenizers import build, family

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

ORGANISATION, COMMIT = "gatebench-rehearsal", 5 * "5ca1ab1e"
PAIRS = 32
T = TypeVar("T")


def mirror(home: Path) -> Path:
    """Lay out everything below a folder that is to be HF_HOME; returns it."""
    from transformers import GPTNeoXConfig, LlamaConfig, Qwen2Config

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    plain, chatml, llama = build("bytes", None, "<|endoftext|>"), family("chatml"), family("llama-2")
    _model(home, "pythia", GPTNeoXConfig(**shape, **_words(plain), tie_word_embeddings=False), plain)
    _model(home, "qwen2.5", Qwen2Config(**shape, **_words(chatml), num_key_value_heads=2), chatml)
    _model(home, "llama", LlamaConfig(**shape, **_words(llama)), llama)
    helpful(snapshot(home, "datasets", "hh-rlhf") / "helpful-base")
    _binarized(snapshot(home, "datasets", "ultrafeedback_binarized") / "data")
    return home


def snapshot(home: Path, kind: str, name: str) -> Path:
    """The folder of a repository's files, and what says that its main branch stands there. kind: models, datasets."""
    root = home / "hub" / f"{kind}--{ORGANISATION}--{name}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    folder = root / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _words(tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    return {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 512,
    }  # fmt: skip


def _model(home: Path, name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    set_seed(0)
    folder = snapshot(home, "models", name)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _rows() -> list[tuple[str, str, str]]:
    """(question, good answer, worse answer), each question another."""
    return [
        (f"What is {n} and {n + 1}?", f"It is {2 * n + 1}, of course.", f"I cannot know {n}.") for n in range(PAIRS)
    ]


def helpful(folder: Path) -> None:
    """As Anthropic/hh-rlhf has them: whole dialogues as text, in gzipped lines."""
    folder.mkdir()
    lines = [
        json.dumps({side: f"\n\nHuman: {question}\n\nAssistant: {answer}" for side, answer in
                    (("chosen", good), ("rejected", bad))})
        for question, good, bad in _rows()
    ]  # fmt: skip
    for name, some in _split(lines).items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(some))


def _binarized(folder: Path) -> None:
    """As HuggingFaceH4/ultrafeedback_binarized has them: messages, in parquet files of named splits."""
    import pandas

    def messages(question: str, answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    folder.mkdir()
    rows = [
        {"prompt": question, "chosen": messages(question, good), "rejected": messages(question, bad)}
        for question, good, bad in _rows()
    ]
    for name, some in _split(rows).items():
        pandas.DataFrame(some).to_parquet(folder / f"{name}_prefs-00000-of-00001.parquet")


def _split(rows: Sequence[T]) -> dict[str, Sequence[T]]:
    return {"train": rows[: PAIRS - 8], "test": rows[PAIRS - 8 :]}


if __name__ == "__main__":
    print(mirror(Path(sys.argv[1])))
