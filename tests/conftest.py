"""Small real models and tokenizers that the tests share."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
HH_TRAIN = SHARED / "data" / "hh_helpful_train.jsonl.gz"
PUBLISHED = SHARED / "published" / "gate_dpo.csv"
needs_hh = pytest.mark.skipif(not HH_TRAIN.exists(), reason="the Anthropic-HH pairs are not beside the repository")

FAMILIES = ("neox", "llama", "qwen")


@pytest.fixture(scope="session")
def tokenizer():
    from gatebench.bench.data import toolbox
    from gatebench.bench.models.ladder import make_tokenizer

    return make_tokenizer(toolbox.load(10, 10, 0, 1500).corpus)


@pytest.fixture(scope="session")
def model_paths(tmp_path_factory, tokenizer):
    """A saved random 0.3M model a family: family -> folder."""
    from transformers import AutoModelForCausalLM, set_seed

    from gatebench.bench.models.ladder import PREFIX, make_config

    paths = {}
    for family in FAMILIES:
        set_seed(0)
        paths[family] = str(tmp_path_factory.mktemp(family))
        AutoModelForCausalLM.from_config(make_config(f"{PREFIX}{family}-0.3m")).save_pretrained(paths[family])
        tokenizer.save_pretrained(paths[family])
    return paths


@pytest.fixture(scope="session")
def preference_rows():
    """Sixteen plain-text toolbox pairs as TRL takes them."""
    from gatebench.bench.data import toolbox

    return [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in toolbox.load(16, 4, 0, 0).train]
