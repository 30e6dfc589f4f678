"""The learning dynamics of a training as it goes: probes measured on the model in memory, and no weights written.

What a kill leaves of it in the stage's folder is sealed with the checkpoint that training goes on from (resume.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from gatebench.bench.stages.probing import Followed
from gatebench.bench.stages.stage import Report

if TYPE_CHECKING:
    import pandas
    from torch.nn import Module
    from transformers import TrainerCallback, TrainerControl, TrainerState

    from gatebench.objectives.causal_lm import AdaptedLM, CausalLM

FOLLOWED = "probes"


@dataclass
class Follower:
    """Measures a model's probes into `out`, to the bits that the dynamics stage finds in saved weights.

    policy: the folder of what the training begins from, its weights of the type `weights`; attention: what measures,
    whatever trains, known once the model is there.
    """

    probes: Followed
    policy: Path
    weights: str
    out: Path
    report: Report
    attention: str = ""
    cautions: dict[str, None] = field(default_factory=dict)

    def measure(self, step: int, share: float, model: CausalLM) -> None:
        """Write the probes after `step` steps, a share of the training."""
        import torch

        from gatebench.bench.models.loading import in_float32, load_policy
        from gatebench.bench.stages.probing import probes_after
        from gatebench.objectives.causal_lm import without_adapter

        text = f"probes at step {step}"
        self.report(share, text)
        start = None
        if not hasattr(model, "peft_config"):
            with torch.random.fork_rng():  # what loading may draw, training does not miss
                start = in_float32(load_policy(self.policy, self.weights)).eval()
        if getattr(without_adapter(model), "is_quantized", False):
            model = self._unpacked(cast("AdaptedLM", model))
        with _as_measured(model, self.attention):
            frame, caution = probes_after(step, model, start, self.probes, lambda part: self.report(share, text))
        self.cautions.update({caution: None} if caution else {})
        (self.out / FOLLOWED).mkdir(exist_ok=True)
        frame.to_parquet(self.out / FOLLOWED / f"{step:06d}.parquet")

    def _unpacked(self, model: AdaptedLM) -> AdaptedLM:
        """The adapter on what its four-bit weights stand for, as its saved form is measured."""
        from peft import PeftModel

        from gatebench.bench.models.loading import in_float32, load_policy

        with TemporaryDirectory() as folder:
            model.save_pretrained(Path(folder))
            frozen = in_float32(load_policy(self.policy, self.weights))
            return cast("AdaptedLM", PeftModel.from_pretrained(cast("Module", frozen), folder))

    def measured(self) -> pandas.DataFrame:
        """All steps, in order."""
        import pandas

        files = sorted((self.out / FOLLOWED).glob("*.parquet"))
        return pandas.concat([pandas.read_parquet(file) for file in files], ignore_index=True)


@contextmanager
def _as_measured(model: CausalLM, attention: str) -> Iterator[None]:
    """Without dropout, in float32 and with the attention that saved weights are measured with, then again as it was:
    every bfloat16 is a float32."""
    import torch

    training, trains_with = model.training, model.config._attn_implementation
    lower = [(p, p.dtype) for p in model.parameters() if p.is_floating_point() and p.dtype != torch.float32]
    model.eval()
    if trains_with != attention:
        model.set_attn_implementation(attention)
    for parameter, _ in lower:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, dtype in lower:
            parameter.data = parameter.data.to(dtype)
        if trains_with != attention:
            model.set_attn_implementation(trains_with)
        model.train(training)


def follow_callback(follower: Follower, every: int) -> TrainerCallback:
    """Measures after every `every`-th step but the last, which is measured once its weights are found sound."""
    from transformers import TrainerCallback

    class Follow(TrainerCallback):
        def on_step_end(
            self, args: object, state: TrainerState, control: TrainerControl, *, model: CausalLM, **_: object
        ) -> None:
            if state.global_step % every == 0 and state.global_step < state.max_steps:
                follower.measure(state.global_step, state.global_step / state.max_steps, model)

    return Follow()
