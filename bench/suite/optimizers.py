"""Optimizers and schedules by transformers' names: those that take no arguments of their own and keep a model's weights
where checkpoints look for them."""

from __future__ import annotations

from typing import Literal, TypeAlias

Optimizer: TypeAlias = Literal[
    "rmsprop", "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad",
    "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "ademamix", "ademamix_8bit",
    "paged_ademamix_32bit", "paged_ademamix_8bit", "lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit",
    "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
]  # fmt: skip
Schedule: TypeAlias = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "polynomial", "inverse_sqrt"
]  # fmt: skip
WITHOUT_BITSANDBYTES = ("rmsprop", "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad")
# Numbers beside a trained weight: its gradient, and the optimizer's own in float32; one of 8 bits is a quarter.
STATES = {"sgd": 1, "adafactor": 1, "adamw": 3, "ademamix": 4}


def of_bitsandbytes(optimizer: str) -> bool:
    return optimizer not in WITHOUT_BITSANDBYTES


def has_adams_numbers(optimizer: str) -> bool:
    """Whether it reads adam_beta1, adam_beta2 and adam_epsilon."""
    return "adamw" in optimizer or "ademamix" in optimizer or "lion" in optimizer


def states_of(optimizer: str) -> int:
    """Numbers of four bytes beside each weight that is trained, rounded up."""
    if "8bit" in optimizer:
        return 2
    return next((number for name, number in STATES.items() if name in optimizer), 2)
