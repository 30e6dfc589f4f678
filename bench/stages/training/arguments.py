"""A recipe as transformers' arguments say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebench.bench.suite.recipes import Train


def arguments_of(recipe: Train) -> dict[str, object]:
    """How weights are updated, by the names of TrainingArguments."""
    return {
        "learning_rate": recipe.learning_rate, "optim": recipe.optimizer, "weight_decay": recipe.weight_decay,
        "adam_beta1": recipe.adam_beta1, "adam_beta2": recipe.adam_beta2, "adam_epsilon": recipe.adam_epsilon,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio or recipe.warmup_steps,  # below 1 a share of all steps
        "max_grad_norm": recipe.max_grad_norm, "gradient_checkpointing": recipe.gradient_checkpointing,
        "torch_compile": recipe.torch_compile,
    }  # fmt: skip
