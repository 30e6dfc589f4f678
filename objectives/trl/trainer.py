"""GatedDPOTrainer in place of DPOTrainer, and a gate on a trainer that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from trl import DPOTrainer
from trl.trainer.utils import get_config_model_id

from gatebench.objectives.gates import BAND, Gate
from gatebench.objectives.trl.config import GatedDPOConfig, Gating
from gatebench.objectives.trl.mixin import GateMixin

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, IterableDataset
    from peft import PeftConfig, PeftModel
    from transformers import (
        BitsAndBytesConfig,
        DataCollator,
        EvalPrediction,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
        TrainerCallback,
    )

Trainer = TypeVar("Trainer", bound=DPOTrainer)


class GatedDPOTrainer(GateMixin):
    """TRL's DPOTrainer with a gate on the rejected gradient; its arguments are TRL's, args a GatedDPOConfig."""

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        ref_model: PreTrainedModel | None = None,
        args: GatedDPOConfig | None = None,
        data_collator: DataCollator | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset | IterableDataset] | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: PeftConfig | None = None,
    ) -> None:
        if args is None:  # as TRL: a folder named after the model
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = GatedDPOConfig(f"{name.split('/')[-1]}-DPO")
        if not isinstance(args, GatedDPOConfig):
            raise TypeError("GatedDPOTrainer needs args=GatedDPOConfig(...), not TRL's DPOConfig")
        super().__init__(
            model=model, ref_model=ref_model, args=args, data_collator=data_collator, train_dataset=train_dataset,
            eval_dataset=eval_dataset, processing_class=processing_class, compute_metrics=compute_metrics,
            callbacks=callbacks, optimizers=optimizers, quantization_config=quantization_config,
            peft_config=peft_config,
        )  # fmt: skip


def gate(
    trainer: Trainer,
    kind: str = "seq",
    alpha: float | str = Gate.alpha,
    tau: float | str = Gate.tau,
    side: str = Gate.side,
    probability: str = Gate.probability,
    value: float | None = None,
    of: Gate | None = None,
    bound: float | None = None,
    band: tuple[float, float] = BAND,
) -> Trainer:
    """Put a gate on a DPOTrainer, or one derived from it, that is there already: `gate(trainer, "seq").train()`.

    kind to band: see gates.Gate. Changes the trainer in place, and returns it; its loss and all else stay as they are.
    Raises TypeError for another kind of trainer, ValueError for one that is gated already and for what makes no gate.
    """
    if not isinstance(trainer, DPOTrainer):
        raise TypeError(f"a gate goes on TRL's DPOTrainer or a class derived from it, not on {type(trainer).__name__}")
    if isinstance(trainer, GateMixin):
        raise ValueError(f"this {type(trainer).__name__} has gate {trainer.gate.kind} already")
    gating = Gating(Gate(kind, alpha, tau, side, probability, value, of, bound, band))
    theirs = type(trainer)
    trainer.__class__ = type(f"Gated{theirs.__name__}", (GateMixin, theirs), {"__module__": theirs.__module__})
    trainer.begin_gating(gating)
    return trainer
