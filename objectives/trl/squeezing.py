"""Where the probability mass goes, measured in anybody's training: `callbacks=[SqueezingCallback()]`."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sized
from statistics import fmean, stdev
from typing import TYPE_CHECKING, cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from gatebench.objectives.trl import probes
from gatebench.objectives.trl.probes import ProbeResponse, ProbeRow

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.utils.data import DataLoader
    from transformers import PreTrainedConfig

    from gatebench.objectives.causal_lm import Tokenizer

logger = logging.getLogger(__name__)
PROBES_KEPT = "gatebench.squeezing"  # in a checkpoint's trainer_state.json
FIRST_PAIRS = 64  # of the training data, where none are given
MEASUREMENTS = 20  # of a training, beside the one before its first step
QUANTITIES = (*probes.RESPONSE_KINDS, "argmax")
Found = Mapping[tuple[int, str], float]


class SqueezingCallback(TrainerCallback):
    """Logs beside a trainer's own metrics what its model thinks of chosen, rejected and unrelated responses.

    squeezing/chosen, rejected, unrelated: mean summed log-prob of a response, nats; squeezing/argmax: the same of the
    most likely tokens along the chosen response. squeezing/delta_*: their change since before the first step. Squeezing
    is delta_chosen below 0 with delta_argmax above: what the loss takes from the rejected responses goes to the tokens
    that the model preferred already (Ren & Sutherland 2025, arXiv 2407.10490).

    probes: rows of prompt, chosen and rejected, as text, messages or token ids; `unrelated` is the chosen response of
    another row where a row has none. By default the first 64 pairs of the training data, as TRL tokenized them.
    every: optimizer steps between two measurements, at the next line of the log; by default a twentieth of the
    training. Measures with ordinary forward passes, in evaluation mode; draws nothing and leaves every weight as it is.
    Raises ValueError when the training begins, for probes that are none.
    """

    def __init__(self, probes: Iterable[ProbeRow] | None = None, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise ValueError(f"SqueezingCallback: every={every} is no number of steps; write 1 or more")
        self.rows = None if probes is None else list(probes)
        self.every = every
        self.responses: list[ProbeResponse] = []
        self.before: dict[tuple[int, str], float] = {}
        self.now: dict[tuple[int, str], float] = {}
        self.measured_at = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: object
    ) -> None:
        self._go_first()
        model = cast("Module", given["model"])
        self.responses = self._responses(args, cast("DataLoader[ProbeRow]", given["train_dataloader"]), given)
        kept = cast("dict[str, dict[str, list[tuple[int, str, float]]]]", state.stateful_callbacks)
        digest = probes.digest_of(self.responses)
        before = kept.get(PROBES_KEPT, {}).get(digest, [])
        if state.global_step and not before and state.is_world_process_zero:
            logger.warning(
                "squeezing: the checkpoint has no measurement of these probes; changes are since step %d",
                state.global_step,
            )
        self.before = {(p, kind): value for p, kind, value in before} or self._measured(args, model)
        self.now = self.before if not state.global_step else self._measured(args, model)
        self.measured_at = state.global_step
        kept[PROBES_KEPT] = {digest: [(probe, kind, value) for (probe, kind), value in self.before.items()]}

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **given: object,
    ) -> None:  # fmt: skip
        at_its_end = logs is not None and "train_runtime" in logs
        if logs is None or not (at_its_end or "loss" in logs):
            return
        every = self.every or math.ceil(state.max_steps / MEASUREMENTS)
        if not at_its_end and state.global_step // every == self.measured_at // every:
            return
        if state.global_step != self.measured_at:
            self.now = self._measured(args, cast("Module", given["model"]))
            self.measured_at = state.global_step
        values = self._values(self.now)
        logs.update(values)
        state.log_history[-1].update(values)
        if at_its_end and state.is_world_process_zero:
            self._conclude(self.now, state.global_step)

    def _go_first(self) -> None:
        """Before the trackers, which a trainer puts before the callbacks that it is given: they are handed one and the
        same line of the log in turn, and no event gives a callback the list that it stands in: who called holds it."""
        frame = sys._getframe()
        while frame.f_back and not isinstance(frame.f_locals.get("self"), CallbackHandler):
            frame = frame.f_back
        callbacks = getattr(frame.f_locals.get("self"), "callbacks", [])
        if self in callbacks:
            callbacks.remove(self)
            callbacks.insert(0, self)
        else:
            logger.warning("squeezing: the trainer's callbacks were not found, so its trackers may not get the values")

    def _measured(self, args: TrainingArguments, model: Module) -> dict[tuple[int, str], float]:
        return probes.summed_log_probs(model, self.responses, quiet=bool(args.disable_tqdm))

    def _responses(
        self, args: TrainingArguments, loader: DataLoader[ProbeRow], given: Mapping[str, object]
    ) -> list[ProbeResponse]:
        rows = self.rows
        if rows is None:
            data = loader.dataset
            rows = [data[place] for place in range(min(FIRST_PAIRS, len(data)))] if isinstance(data, Sized) else []
            if not rows or "rejected_ids" not in rows[0]:
                raise ValueError(
                    "SqueezingCallback: the training data are no table of tokenized pairs, so probes have to be given: "
                    "SqueezingCallback(probes=rows), rows of prompt, chosen and rejected"
                )
        processing = given["processing_class"]
        tokenizer = cast("Tokenizer | None", getattr(processing, "tokenizer", processing))
        return probes.responses_of(rows, tokenizer, _room(args, cast("Module", given["model"])))

    def _values(self, now: Found) -> dict[str, float]:
        found = {}
        for quantity in QUANTITIES:
            values = [value for (_, kind), value in now.items() if kind == quantity]
            if values:
                found[f"squeezing/{quantity}"] = fmean(values)
                found[f"squeezing/delta_{quantity}"] = fmean(self._changes(now, quantity))
        return found

    def _changes(self, now: Found, quantity: str) -> list[float]:
        return [value - self.before[key] for key, value in now.items() if key[1] == quantity]

    def _conclude(self, now: Found, step: int) -> None:
        """One sentence; a warning where mass was squeezed, by twice its standard error over the probes."""
        changes = {quantity: self._changes(now, quantity) for quantity in QUANTITIES}
        said, sure = [], {}
        for quantity, values in changes.items():
            if values:
                error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
                said.append(f"{quantity} {fmean(values):+.2f} ± {error:.2f}")
                sure[quantity] = 0 if abs(fmean(values)) <= 2 * error else math.copysign(1, fmean(values))
        line = (
            f"squeezing: change of the log-prob of a response over {step} steps, in nats (mean ± standard error of "
            f"{len(changes['chosen'])} probes): {', '.join(said)}"
        )
        if sure["chosen"] < 0 < sure["argmax"]:
            logger.warning("%s. The chosen responses lost mass and the most likely tokens gained it: squeezing", line)
        elif sure["chosen"] < 0 and sure["argmax"] < 0:
            logger.warning("%s. The chosen responses lost mass, and not to the most likely tokens", line)
        elif sure["chosen"] < 0:
            logger.warning(
                "%s. The chosen responses lost mass; these probes do not tell whether to the most likely tokens", line
            )
        else:
            logger.info("%s", line)


def _room(args: TrainingArguments, model: Module) -> probes.Room:
    """What the trainer cuts at; where it does not, how far the model's positions go."""
    tokens = getattr(args, "max_length", None)
    if tokens is None:
        config = cast("PreTrainedConfig", model.config)
        tokens = getattr(config.get_text_config(), "max_position_embeddings", None)
    return probes.Room(tokens, keep_end=getattr(args, "truncation_mode", None) == "keep_end")
