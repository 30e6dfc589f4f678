"""Small real models and tokenizers that the tests share."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # Ray writes a token into the home, and nodes must agree on it
os.environ.setdefault("RAY_worker_niceness", "0")  # by 15 its workers starve beside other tests

import pytest

from tests import needs
from tests.helpers import CLAIM, GOOD, Ran, bench, once, write
from tests.s3_server import S3Server

FAMILIES = ("neox", "llama", "qwen")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose marker names what is not here is skipped, and says what is missing."""
    for marker in item.iter_markers():
        if missing := needs.missing(marker.name):
            pytest.skip(missing)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that several processes (-n 2 --dist loadfile) come to their end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What the imports made is not looked through again: Trainer collects garbage at every start of a training, which
    otherwise takes longer than the few steps that a test trains."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of all processes that run these tests."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[S3Server]:
    """A real one on loopback; whoever uses it needs the marker s3, and a place of its own in the bucket."""
    made = S3Server(tmp_path_factory.mktemp("s3"))
    yield made
    made.stop()


@pytest.fixture(scope="session")
def good_run(shared) -> Ran:
    """The good suite with a claim, run once for all tests: to be read, or to have its store copied."""

    def run(folder: Path) -> None:
        done = bench("run", write(folder, GOOD + CLAIM), "--results", folder / "results", "--workers", 2)
        assert done.returncode == 0, done.stderr
        (folder / "said.json").write_text(json.dumps([done.stdout, done.stderr]))

    folder = once(shared / "good", run)
    return Ran(folder, *json.loads((folder / "said.json").read_text()))


@pytest.fixture(scope="session")
def tokenizer():
    from gatebench.bench.data import toolbox
    from gatebench.bench.models.ladder import make_tokenizer

    return make_tokenizer(toolbox.toolbox_corpus(10, 10, 0, 1500))


@pytest.fixture(scope="session")
def model_paths(shared, tokenizer):
    """A saved random 0.3M model a family: family -> folder."""
    from transformers import AutoModelForCausalLM, set_seed

    from gatebench.bench.models.ladder import PREFIX, make_config

    def save(folder: Path) -> None:
        for family in FAMILIES:
            set_seed(0)
            model = AutoModelForCausalLM.from_config(make_config(f"{PREFIX}{family}-0.3m"))
            model.save_pretrained(folder / family)
            tokenizer.save_pretrained(folder / family)

    folder = once(shared / "models", save)
    return {family: str(folder / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def preference_rows():
    """Sixteen plain-text toolbox pairs as TRL takes them."""
    from gatebench.bench.data import toolbox

    pairs = toolbox.load_toolbox(16, 4, 0).train
    return [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]
