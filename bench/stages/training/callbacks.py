"""What a preference training does after a step, beside training: it saves weights, and asks whether to go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState

    from gatebench.objectives.causal_lm import CausalLM

CHECKPOINTS = "checkpoints"
# Asked after every optimizer step with the step and the model; True stops the training there.
Watch: TypeAlias = "Callable[[int, CausalLM], bool]"


def every_callback(every: int, act: Callable[[int, float, CausalLM], None]) -> TrainerCallback:
    """Calls `act` with the step, the share of the training and the model after every `every`-th step but the last."""
    from transformers import TrainerCallback

    class Every(TrainerCallback):
        def on_step_end(
            self, args: object, state: TrainerState, control: TrainerControl, *, model: CausalLM, **_: object
        ) -> None:
            if state.global_step % every == 0 and state.global_step < state.max_steps:
                act(state.global_step, state.global_step / state.max_steps, model)

    return Every()


def saver(out: Path) -> Callable[[int, float, CausalLM], None]:
    """Saves the weights for the dynamics stage; those of the last step are the stage's own."""
    return lambda step, share, model: model.save_pretrained(out / CHECKPOINTS / f"{step:06d}")


def watch_callback(watch: Watch) -> TrainerCallback:
    """Asks `watch` after every step; a stop saves the trainer's whole state, so that training can go on there."""
    from transformers import TrainerCallback

    class Ask(TrainerCallback):
        def on_step_end(
            self, args: object, state: TrainerState, control: TrainerControl, *, model: CausalLM, **_: object
        ) -> None:
            if watch(state.global_step, model) and state.global_step < state.max_steps:
                control.should_save = control.should_training_stop = True

    return Ask()
