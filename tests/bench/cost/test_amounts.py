"""How much work a stage is."""

import pytest

from gatebench.bench.cost.amounts import parameters_of
from gatebench.bench.models.source import ModelSource


@pytest.mark.parametrize(
    ("path", "expected"),
    [("EleutherAI/pythia-410m", 4.1e8), ("Qwen/Qwen2.5-0.5B", 5e8), ("huggyllama/llama-7b", 7e9), ("gpt2", None)],
)
def test_the_size_in_a_models_name(path, expected):
    assert parameters_of(ModelSource(f"hub:{path}", path=path)) == expected
