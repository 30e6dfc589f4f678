"""How much is left untyped, and that the models and tokenizers of transformers are what our protocols ask for."""

from __future__ import annotations

import ast
from collections import Counter

import pytest
from transformers import AutoModelForCausalLM

from gatebench.objectives.causal_lm import (
    AdaptedLM,
    CausalLM,
    CausalLMConfig,
    CausalLMOutput,
    LMHead,
    Tokenizer,
    backbone_of,
    without_adapter,
)
from tests.helpers import ROOT

FOLDERS = ("gatebench", "bench", "objectives", "dashboards")
MOST_ANY = 19  # may fall, not rise


def uses_of_any(source: str) -> int:
    """How often a source uses Any as a type; imports do not count."""
    names = (getattr(node, "id", getattr(node, "attr", None)) for node in ast.walk(ast.parse(source)))
    return sum(name == "Any" for name in names)


def test_any_becomes_no_more():
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    found = Counter({str(file.relative_to(ROOT)): uses_of_any(file.read_text(encoding="utf-8")) for file in files})
    most = ", ".join(f"{file} {count}" for file, count in found.most_common(5))
    assert found.total() <= MOST_ANY, (
        f"Any stands {found.total()} times as a type; MOST_ANY may fall, not rise. Say what the value is: a TypeVar, a "
        f"Protocol, a TypedDict, keys.Json, or object where nothing is asked of it. Most: {most}"
    )


def members(protocol: type) -> set[str]:
    """The names that a protocol asks for, its call aside."""
    return {*protocol.__annotations__, *(name for name in vars(protocol) if not name.startswith("_"))}


@pytest.mark.parametrize("family", ["neox", "llama", "qwen"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "lora"])
def test_models_of_transformers_have_what_is_asked(model_paths, family, wrapped):
    model = AutoModelForCausalLM.from_pretrained(model_paths[family])
    if wrapped:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    output = model(input_ids=model.dummy_inputs["input_ids"][:, :4])
    asked = {CausalLM: model, CausalLMConfig: model.config, CausalLMOutput: output,
             LMHead: model.get_output_embeddings(), **({AdaptedLM: model} if wrapped else {})}  # fmt: skip
    lacking = [f"{p.__name__}.{name}" for p, given in asked.items() for name in members(p) if not hasattr(given, name)]
    assert not lacking
    assert callable(backbone_of(without_adapter(model)))


def test_tokenizers_of_transformers_have_what_is_asked(tokenizer):
    assert not [name for name in members(Tokenizer) if not hasattr(tokenizer, name)]
