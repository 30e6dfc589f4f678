"""Gate an existing TRL script: `GatedDPOConfig` and `GatedDPOTrainer` in place of TRL's two names.

    from gatebench import GatedDPOConfig, GatedDPOTrainer
    args = GatedDPOConfig(output_dir="out", gate="seq", gate_alpha=100, gate_tau="q50")
    GatedDPOTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer).train()

or leave the script as it is and gate its trainer before it trains:

    from gatebench import gate
    gate(trainer, "seq", tau="q50").train()

or only measure where the probability mass goes, in any trainer: `callbacks=[SqueezingCallback()]`.

A class derived from DPOTrainer becomes a gated one by `class Mine(GateMixin, Theirs)`. This folder alone imports trl
(pinned to 1.16).
"""

from gatebench.objectives.trl.config import GatedDPOConfig, Gating
from gatebench.objectives.trl.mixin import GateMixin
from gatebench.objectives.trl.squeezing import SqueezingCallback
from gatebench.objectives.trl.trainer import GatedDPOTrainer, gate

__all__ = ["GateMixin", "GatedDPOConfig", "GatedDPOTrainer", "Gating", "SqueezingCallback", "gate"]
