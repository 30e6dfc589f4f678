"""How a training that was killed goes on: checkpoints of its whole state, sealed when they are whole.

    trainer/checkpoint-<step>/            weights, optimizer, random states; seal.json is written last
    checkpoints/, probes/                 saved or measured on the way, sealed with the checkpoint after them

A checkpoint of which a byte is not what was sealed is thrown away; the training goes on from the one before, or starts
again, to the same bits.
"""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.stages.training.callbacks import CHECKPOINTS
from gatebench.bench.stages.training.following import FOLLOWED
from gatebench.bench.stages.training.team import ALONE

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from gatebench.bench.stages.training.team import Team
    from gatebench.objectives.causal_lm import CausalLM

TRAINER, SEAL = "trainer", "seal.json"
SECONDS_BETWEEN_CHECKPOINTS = 60.0
BYTES_AT_ONCE = 2**24


def resume_point(out: Path) -> str | None:
    """The newest whole checkpoint that a killed run left in a stage's folder, or None."""
    for folder in sorted((out / TRAINER).glob("checkpoint-*"), key=_step, reverse=True):
        if _is_whole(out, folder):
            return str(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return None


def restore(model: CausalLM, out: Path, team: Team = ALONE) -> str | None:
    """Put the weights of the newest checkpoint into the model and return the checkpoint's folder, if there is one.

    The Trainer's own loading skips parameters that a checkpoint names otherwise than the model does (the head of a
    GPT-NeoX), with no more than a warning; from_pretrained knows both names. Adapters are left to the Trainer.
    """
    point = team.agreed(lambda: resume_point(out))
    if point is not None and not (Path(point) / "adapter_config.json").exists():
        model.load_state_dict(type(model).from_pretrained(point, dtype=model.dtype).state_dict())
    return point


def checkpoint_callback(logging_steps: int, out: Path, team: Team = ALONE) -> TrainerCallback:
    """Saves the trainer's whole state about every SECONDS_BETWEEN_CHECKPOINTS, right after a logging step, so that
    no half-accumulated metric is lost, and seals it. When it saves does not change what it computes."""
    from transformers import TrainerCallback

    class Checkpoint(TrainerCallback):
        last = time.monotonic()

        def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
            if state.global_step % logging_steps or state.global_step >= state.max_steps:
                return
            if team.agreed(lambda: time.monotonic() - self.last >= SECONDS_BETWEEN_CHECKPOINTS):
                control.should_save = True

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            team.wait()  # each process writes its own random state
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            if team.leads:
                (folder / SEAL).write_text(json.dumps(_sums(out, folder)))  # half of one is no JSON
            self.last = time.monotonic()

    return Checkpoint()


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _is_whole(out: Path, folder: Path) -> bool:
    try:
        sealed = json.loads((folder / SEAL).read_bytes())
        now = _sums(out, folder)
        return bool(sealed) and all(now.get(name) == kept for name, kept in sealed.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _sums(out: Path, folder: Path) -> dict[str, list[int]]:
    """[bytes, CRC-32] of every file of a checkpoint and of what was saved and measured so far, by its path below a
    stage's folder."""
    files = [*_files(folder), *_files(out / CHECKPOINTS), *_files(out / FOLLOWED)]
    return {str(file.relative_to(out)): [file.stat().st_size, _crc(file)] for file in files if file.name != SEAL}


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(file for file in folder.rglob("*") if file.is_file())


def _crc(file: Path) -> int:
    found = 0
    with file.open("rb") as opened:
        while part := opened.read(BYTES_AT_ONCE):
            found = zlib.crc32(part, found)
    return found
