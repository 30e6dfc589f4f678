"""What a stage is: all that the rest of the harness knows of its kind, said by the stage itself.

A stage's file ends in `STAGE = Stage(...)`. Its run(spec, inputs, out, report) -> facts makes it: inputs are folders of
finished stages by role, out is the empty folder to write into, report(share, text) tells progress in [0, 1], and the
facts returned go into the manifest (tokens, dropped rows ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from gatebench.bench.keys import Json
from gatebench.bench.metrics.tasks import ByItem, ValueWithError

if TYPE_CHECKING:
    import pandas

S = TypeVar("S")  # the Spec of a kind
Report = Callable[[float, str], None]
Facts: TypeAlias = dict[str, Json]
CAUTIONS = "cautions"  # the fact of any stage: sentences on what makes its numbers less than they seem
Run: TypeAlias = Callable[[Any, Mapping[str, Path], Path, Report], Facts]  # of some kind, whose Spec comes first
LIBRARIES = ("torch", "transformers", "trl")  # their versions change results, so they are in every key


FORWARD, TRAINING = 2, 6  # floating-point operations a parameter and token (Kaplan et al. 2020, sec. 2.1)
FROZEN = 4  # of weights that gradients go through to an adapter's, and that have none themselves
BYTES = {"float32": 4, "bfloat16": 2}
ADAMW = 3  # numbers beside a trained weight: its gradient and moments
# Copies of logits, float32, alive at a time: of transformers' loss the logits, their log-softmax and its gradient, and
# one that the backward pass makes on the way; of scoring the logits and their log-softmax; of answers those of every
# step, stacked, and their log-softmax.
LOSS_COPIES, SCORE_COPIES, ANSWER_COPIES = 4, 2, 3
SCORED = 16  # responses scored at once, about
# What scoring holds at most (objectives/layout/scoring.py): positions in a cache, and numbers in one copy of logits.
SCORED_POSITIONS, SCORED_LOGITS = 8192, 2**27


@dataclass(frozen=True)
class Amount:
    """How much work one stage is.

    units: tokens for a base, else pairs or probes, counted as often as they are seen; unit_tokens: the most tokens
    of one; batch_tokens: the most in memory at once; states: numbers kept beside each weight that is trained (gradient,
    moments), 0 where none is; saved: models written; like: what else of the recipe decides the time a unit takes.
    held: bytes a parameter of all whole models in memory; written: bytes a parameter of one that is saved;
    saves_adapter: whether nothing but the adapter is; logits: positions whose logits are held at a time, `copies` of
    them; at_once, writes: answers written together, and the most tokens of one, of a stage that writes some;
    checkpointing: whether activations are computed again in the backward pass; responses: to one prompt in a unit,
    whose lengths the rows of the data then tell; read: further responses that are read in float32 without being trained
    on, each of half a unit's tokens; wide: whether all is computed in float32, whatever the model's type.
    """

    units: float
    unit_tokens: int
    flops_a_token: int
    batch_tokens: int
    states: int
    saved: int
    like: tuple[object, ...] = ()
    held: int = BYTES["float32"]
    written: int = BYTES["float32"]
    saves_adapter: bool = False
    logits: int = 0
    copies: int = 0
    at_once: int = 0
    writes: int = 0
    checkpointing: bool = False
    responses: int = 0
    read: float = 0.0
    wide: bool = False

    @property
    def timed(self) -> float:
        """What seconds grow with: units, and what is read beside them by the operations that it takes."""
        return self.units + (self.read / 2 * FORWARD / self.flops_a_token if self.read else 0.0)


Inputs = Mapping[str, Any]  # the specs of the stages that a stage rests on, by role


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A kind of stage.

    version: part of every key; to be raised whenever the stage's results change
    spec: its frozen parameters, what changes bits and nothing else; a field with metadata key=False is not hashed
    amount: (spec, inputs, training pairs of its data or None) -> its work; None where that needs a download
    facts: those of its manifest that a summary keeps, beside CAUTIONS
    artifacts: its files that are logged with a cell
    shorten: (spec, steps, copy) -> the spec of a run of a few steps, for calibration; None: not timed in advance
    by_prompt: (its folder, its inputs' folders) -> the values of its metrics: split, prompt, a column a metric
    with_errors: its folder -> metrics that bring their own standard errors
    by_item: its folder -> those of them that are means over items of their own, by item
    """

    kind: str
    version: int
    spec: type[S]
    run: Callable[[S, Mapping[str, Path], Path, Report], Facts]
    amount: Callable[[S, Inputs, int | None], Amount | None]
    facts: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    shorten: Callable[[S, int, int], S] | None = None
    by_prompt: Callable[[Path, Mapping[str, Path]], pandas.DataFrame] | None = None
    with_errors: Callable[[Path], Mapping[str, ValueWithError]] | None = None
    by_item: Callable[[Path], ByItem] | None = None


AnyStage: TypeAlias = Stage[Any]  # where many kinds meet


def library_versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@cache
def code_revision() -> str:
    """The package's version and, in a git checkout, its revision: for the record, not part of a key."""
    import subprocess

    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    if not (root / ".git").exists():
        return version("gatebench")
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return version("gatebench")
    return f"{version('gatebench')}+{found}"
