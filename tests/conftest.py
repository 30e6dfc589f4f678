"""Small real models and tokenizers that the tests share."""

from __future__ import annotations

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from tests import needs

FAMILIES = ("neox", "llama", "qwen")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose marker names what is not here is skipped, and says what is missing."""
    for marker in item.iter_markers():
        if missing := needs.missing(marker.name):
            pytest.skip(missing)


@pytest.fixture(scope="session")
def tokenizer():
    from gatebench.bench.data import toolbox
    from gatebench.bench.models.ladder import make_tokenizer

    return make_tokenizer(toolbox.load_toolbox(10, 10, 0, 1500).corpus)


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

    pairs = toolbox.load_toolbox(16, 4, 0, 0).train
    return [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]
