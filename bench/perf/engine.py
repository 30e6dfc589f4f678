"""One vLLM engine for many checkpoints against an engine a checkpoint: seconds, and whether the tokens are the same."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gatebench.bench.data import toolbox
from gatebench.bench.engines import transformers, vllm
from gatebench.bench.engines.sampling import Sampling
from gatebench.bench.models import ladder
from gatebench.bench.perf.step import Tick
from gatebench.bench.stages.generate import PROOF_PROMPTS

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import CausalLM

SERVED_CHECKPOINTS = 8
ANSWERED_PROMPTS = 100
SAMPLING = Sampling(max_tokens=16)
LONGEST_SERVED = 128
TICKS = 3 * SERVED_CHECKPOINTS  # of `measure`
Tokens = list[tuple[int, ...]]


@dataclass(frozen=True)
class EngineFigures:
    """reused, fresh: seconds a checkpoint, start and answers to PROMPTS prompts included, with one engine for all and
    with one each. same_as_fresh, same_as_transformers: greedy answers with equal tokens, of CHECKPOINTS x PROMPTS."""

    reused: tuple[float, ...]
    fresh: tuple[float, ...]
    same_as_fresh: int
    same_as_transformers: int

    def to_json(self) -> dict[str, float]:
        """The keys that scripts read."""
        asked = SERVED_CHECKPOINTS * ANSWERED_PROMPTS
        return {
            "engine.second_vs_first": statistics.median(self.reused[1:]) / self.reused[0],
            "engine.vs_fresh_engines": sum(self.fresh) / sum(self.reused),
            "engine.same_as_fresh": self.same_as_fresh / asked,
            "engine.same_as_transformers": self.same_as_transformers / asked,
        }


def measure(model: str, tick: Tick) -> EngineFigures:
    """model: a built-in of the ladder, whose checkpoints get random weights. tick: told before every part of the work.
    Raises VllmFailed where vLLM does not serve the model."""
    with TemporaryDirectory() as folder:
        data = toolbox.load_toolbox(ANSWERED_PROMPTS, 0, 0)
        tokenizer = ladder.make_tokenizer(toolbox.toolbox_corpus(ANSWERED_PROMPTS, 0, 0, 500))
        prompts = [tokenizer(str(pair.prompt))["input_ids"] for pair in data.train]
        places, wanted, greedy = [], [], []
        for number in range(SERVED_CHECKPOINTS):
            tick(f"checkpoint {number + 1} by transformers")
            place = Path(folder) / str(number)
            policy = _checkpoint(model, number, place)
            tokenizer.save_pretrained(place)
            places.append(place)
            ends = transformers.end_tokens(policy, tokenizer)
            wanted.append(transformers.log_probs(policy, prompts[:PROOF_PROMPTS]))
            greedy.append(
                [a.tokens for a in transformers.generate(policy, tokenizer, prompts, SAMPLING, lambda share: None)]
            )
        reused, fresh = [], []
        for number, place in enumerate(places):
            tick(f"checkpoint {number + 1} in the engine of the others")
            started = time.monotonic()
            engine, _ = vllm.serve(place, "float32", LONGEST_SERVED, prompts[:PROOF_PROMPTS], wanted[number])
            reused.append((_tokens(engine, prompts, ends), time.monotonic() - started))
        vllm.close()
        for number, place in enumerate(places):
            tick(f"checkpoint {number + 1} in an engine of its own")
            started = time.monotonic()
            engine = vllm.Engine(place, "float32", LONGEST_SERVED)
            fresh.append((_tokens(engine, prompts, ends), time.monotonic() - started))
            engine.close()
    return EngineFigures(
        tuple(seconds for _, seconds in reused), tuple(seconds for _, seconds in fresh),
        sum(_same(one, other) for (one, _), (other, _) in zip(reused, fresh, strict=True)),
        sum(_same(one, other) for (one, _), other in zip(reused, greedy, strict=True)),
    )  # fmt: skip


def _checkpoint(model: str, seed: int, place: Path) -> CausalLM:
    from transformers import AutoModelForCausalLM, set_seed

    set_seed(seed)
    policy: CausalLM = AutoModelForCausalLM.from_config(ladder.make_config(model)).eval()
    policy.save_pretrained(place)
    return policy


def _tokens(engine: vllm.Engine, prompts: list[list[int]], ends: tuple[int, ...]) -> Tokens:
    return [answer.tokens for answer in engine.generate(prompts, SAMPLING, ends)]


def _same(one: Tokens, other: Tokens) -> int:
    return sum(a == b for a, b in zip(one, other, strict=True))
