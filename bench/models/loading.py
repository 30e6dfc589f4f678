"""Loading a policy and its tokenizer from a finished stage's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatebench.bench.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch.nn import Module

    from gatebench.bench.models.source import Adapter
    from gatebench.objectives.causal_lm import CausalLM, Tokenizer

POINTER = "source.json"
MODEL = "model"


def load_tokenizer(stage: Path) -> Tokenizer:
    """The tokenizer beside a policy; padding falls back to the end token."""
    from transformers import AutoTokenizer

    path, revision = _where(stage)
    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    found: Tokenizer = tokenizer
    return found


def load_policy(stage: Path, dtype: str, folder: str = MODEL) -> CausalLM:
    """The causal model of a finished stage, or of one of its checkpoints, adapters merged.

    Its attention is torch's (SDPA) where transformers has that for it, else eager. Raises UserError when a hub id or
    local folder cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if (stage / folder / "adapter_config.json").exists():
        from peft import PeftModel

        warm = stage / json.loads((stage / POINTER).read_text())["policy"]
        policy = cast("Module", load_policy(warm, dtype))
        merged: CausalLM = PeftModel.from_pretrained(policy, str(stage / folder)).merge_and_unload()
        return merged
    path, revision = _where(stage, folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, revision=revision, dtype=getattr(torch, dtype), trust_remote_code=False
        )
    except (OSError, ValueError) as error:  # ValueError: an architecture that is no causal language model
        raise UserError(f"{path}: cannot load the model ({str(error).splitlines()[0]})") from None
    return advised(model.to("cuda" if torch.cuda.is_available() else "cpu"))


def advised(model: CausalLM) -> CausalLM:
    """With the attention that transformers advises: torch's would leave Gemma 2's softcapping out, without a word."""
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
    return model


def _where(stage: Path, folder: str = MODEL) -> tuple[str, str | None]:
    """A folder of weights, or the hub id or path that a base stage points to."""
    if (stage / folder / "config.json").exists():
        return str(stage / folder), None
    found = json.loads((stage / POINTER).read_text())
    if "policy" in found:  # an adapter's folder: its tokenizer is the policy's it was trained on
        return _where(stage / found["policy"])
    return found["path"], found.get("revision")


def lora_config(adapter: Adapter) -> LoraConfig:
    """peft's configuration of an adapter on all linear layers of the backbone."""
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.r, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
