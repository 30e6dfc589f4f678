"""Loading a policy and its tokenizer from a finished stage's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatebench.bench.errors import UserError
from gatebench.bench.models.source import FLOAT32, NF4
from gatebench.bench.models.targets import wrong_targets
from gatebench.bench.models.tensors import wrong_tensors

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from torch.nn import Module
    from transformers import PreTrainedModel

    from gatebench.bench.models.source import Adapter
    from gatebench.objectives.causal_lm import AdaptedLM, CausalLM, Tokenizer

POINTER = "source.json"
MODEL = "model"


def load_tokenizer(stage: Path) -> Tokenizer:
    """The tokenizer beside a policy; padding falls back to the end token."""
    return tokenizer_at(*_where(stage))


def tokenizer_at(path: str, revision: str | None = None) -> Tokenizer:
    """The tokenizer of a folder or hub id."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    found: Tokenizer = tokenizer
    return found


def commit_of(path: str, revision: str | None) -> str | None:
    """The commit that a revision of a model on the hub stands for now. Raises UserError where it cannot be had."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot load the model ({str(error).splitlines()[0]})") from None
    return getattr(config, "_commit_hash", None) or revision


def load_policy(stage: Path, dtype: str, folder: str = MODEL, attention: str = "") -> CausalLM:
    """The causal model of a finished stage, or of one of its checkpoints, its weights as dtype (a type of torch's or
    NF4), adapters merged.

    An adapter is merged in float32, into the weights as they were frozen under it: bfloat16 would swallow most of it.
    attention: transformers' name of one; "" is torch's (SDPA) where transformers has that for the architecture, else
    eager. Raises UserError when a hub id or local folder cannot be loaded, or only in part.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if adapted := load_adapted(stage, folder):
        merged: CausalLM = cast("PeftModel", adapted).merge_and_unload()
        cast("Module", merged).to(getattr(torch, dtype))
        return merged
    path, revision = _where(stage, folder)
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            path, revision=revision, trust_remote_code=False, use_safetensors=True, output_loading_info=True,
            **({"dtype": getattr(torch, dtype)} if dtype != NF4 else _in_four_bits()),
        )  # fmt: skip
    except (OSError, ValueError) as error:  # ValueError: an architecture that is no causal language model
        raise UserError(f"{path}: cannot load the model ({str(error).splitlines()[0]})") from None
    if sentence := wrong_tensors(loaded["missing_keys"], loaded["unexpected_keys"]):
        raise UserError(f"{path}: {sentence}")
    make_savable(model)
    placed: CausalLM = model if dtype == NF4 else model.to("cuda" if torch.cuda.is_available() else "cpu")
    if not attention:
        return advised(placed)
    placed.set_attn_implementation(attention)
    return placed


def _in_four_bits() -> dict[str, object]:
    """QLoRA's weights: NF4 with quantized scales, computed with in bfloat16, which lie where they are loaded to."""
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=NF4, bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    place = "cuda" if torch.cuda.is_available() else "cpu"
    return {"dtype": torch.bfloat16, "quantization_config": config, "device_map": {"": place}}


def in_float32(model: CausalLM) -> CausalLM:
    """The model with float32 weights, those of four bits as what they stand for."""
    whole = cast("PreTrainedModel", model)
    return cast("CausalLM", (whole.dequantize() if getattr(whole, "is_quantized", False) else whole).float())


def load_adapted(stage: Path, folder: str = MODEL) -> AdaptedLM | None:
    """The adapter of a finished stage, or of one of its checkpoints, on the weights that were frozen under it, all in
    float32; None where the stage trained its weights themselves."""
    if not (stage / folder / "adapter_config.json").exists():
        return None
    from peft import PeftModel

    found = json.loads((stage / POINTER).read_text())
    frozen = in_float32(load_policy(stage / found["policy"], found.get("weights") or FLOAT32))
    return cast("AdaptedLM", PeftModel.from_pretrained(cast("Module", frozen), str(stage / folder)))


def advised(model: CausalLM) -> CausalLM:
    """With the attention that transformers advises: torch's would leave Gemma 2's softcapping out, without a word."""
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
    return model


def computing(dtype: str, model: CausalLM) -> torch.autocast:
    """The context in which forward passes compute in dtype, as training with it does, whatever the weights are."""
    import torch

    return torch.autocast(model.device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def make_savable(model: CausalLM) -> None:
    """Keep of a generation_config that transformers refuses to save, after all the training, what counts here."""
    from transformers import GenerationConfig

    own = model.generation_config
    try:
        own.validate(strict=True)
    except ValueError:
        model.generation_config = GenerationConfig(eos_token_id=own.eos_token_id)


def _where(stage: Path, folder: str = MODEL) -> tuple[str, str | None]:
    """A folder of weights, or the hub id or path that a base stage points to."""
    if (stage / folder / "config.json").exists():
        return str(stage / folder), None
    found = json.loads((stage / POINTER).read_text())
    if "policy" in found:  # an adapter's folder: its tokenizer is the policy's it was trained on
        return _where(stage / found["policy"])
    return found["path"], found.get("revision")


def lora_config(adapter: Adapter, model: CausalLM) -> LoraConfig:
    """peft's configuration of an adapter on a model. Raises UserError for targets that the model has not."""
    from peft import LoraConfig

    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    if isinstance(targets, list) and (wrong := list(wrong_targets(cast("PreTrainedModel", model), targets))):
        raise UserError(*wrong)
    return LoraConfig(
        r=adapter.r, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, target_modules=targets,
        task_type="CAUSAL_LM",
    )  # fmt: skip
