"""vLLM in a process of its own: requests as JSON lines on stdin, replies as JSON lines on stdout.

vLLM changes classes of transformers where it runs a model through them, so it must not share a process with a
trainer. It listens nowhere but on loopback, and it is killed when the process that started it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from gatebench.bench.process import die_with_parent

if TYPE_CHECKING:
    from torch import Tensor
    from vllm import LLM

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, whose end is the end of all
    "VLLM_HOST_IP": "127.0.0.1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "ERROR",
}  # fmt: skip


class AnswerRow(TypedDict):
    """An Answer as it is sent."""

    text: str
    tokens: list[int]
    finish_reason: str
    log_prob: float


class Reply(TypedDict, total=False):
    """What the request asked for, or the error it ended in. log_probs, first: a row a prompt, see Server.score."""

    error: str
    answers: list[AnswerRow]
    log_probs: list[list[float]]
    first: list[list[bool]]


class Server:
    """One engine, whose weights are replaced for each checkpoint of its architecture."""

    engine: LLM

    def start(self, folder: str, dtype: str, max_length: int) -> Reply:
        from vllm import LLM
        from vllm.model_executor.layers.linear import LinearBase

        # The CPU build packs linear weights into a private layout and drops the originals, so that new weights loaded
        # into them never reach the product. This switch of vLLM's own keeps the plain weights and the plain product.
        LinearBase._cpu_skip_gemm_dispatch = True
        _count_cached_files_as_free()
        self.engine = LLM(
            folder, dtype=dtype, max_model_len=max_length, enforce_eager=True, enable_prefix_caching=False,
            disable_log_stats=True, seed=0, trust_remote_code=False, generation_config="vllm",
            **_shared_with_workers(),
        )  # fmt: skip
        return {}

    def swap(self, folder: str) -> Reply:
        """Load another checkpoint's weights; what vLLM derives from weights (the packed head) is derived again."""
        from vllm.model_executor.model_loader.utils import process_weights_after_loading

        core = self.engine.llm_engine.engine_core.engine_core
        model = core.model_executor.driver_worker.worker.model_runner.model
        model.load_weights(_weights(Path(folder)))
        config = self.engine.llm_engine.vllm_config.model_config
        process_weights_after_loading(model, config, next(model.parameters()).device)
        return {}

    def generate(self, prompts: list[list[int]], sampling: Mapping[str, Any], ends: list[int], apart: bool) -> Reply:
        from vllm import SamplingParams

        wish = {**sampling, "stop": sampling["stop"] or None, "stop_token_ids": ends, "logprobs": 0}
        # a request's seed is its own: equal prompts with one seed would have equal answers
        seeds = [sampling["seed"] + (place if apart else 0) for place in range(len(prompts))]
        given = [SamplingParams(**{**wish, "seed": seed}) for seed in seeds]
        outputs = self.engine.generate([{"prompt_token_ids": ids} for ids in prompts], given, use_tqdm=False)
        answers: list[AnswerRow] = []
        for o in (output.outputs[0] for output in outputs):
            tokens = list(o.token_ids)
            if tokens and tokens[-1] in ends:
                tokens.pop()
            answers.append(
                {"text": o.text, "tokens": tokens, "finish_reason": o.finish_reason, "log_prob": o.cumulative_logprob}
            )
        return {"answers": answers}

    def score(self, prompts: list[list[int]]) -> Reply:
        """Log-probs of every token of each prompt but its first, and whether it is the most likely one."""
        from vllm import SamplingParams

        given = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
        outputs = self.engine.generate([{"prompt_token_ids": ids} for ids in prompts], given, use_tqdm=False)
        found = [
            [places[token] for places, token in zip(o.prompt_logprobs[1:], ids[1:], strict=True)]
            for o, ids in zip(outputs, prompts, strict=True)
        ]
        return {
            "log_probs": [[place.logprob for place in row] for row in found],
            "first": [[place.rank == 1 for place in row] for row in found],
        }


def _shared_with_workers() -> dict[str, float]:
    """On a GPU half of what is free, where vLLM would have 92 % of all and not start beside a worker's own model."""
    import torch

    if not torch.cuda.is_available():
        return {}  # a processor's engine takes what ENVIRONMENT says
    free, in_all = torch.cuda.mem_get_info()
    return {"gpu_memory_utilization": 0.5 * free / in_all}


def _count_cached_files_as_free() -> None:
    """The CPU build takes most memory that files are cached in for used, and does not start on a machine that has read
    many; the system gives such memory back to whoever asks."""
    import psutil
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker import cpu_worker

    of_node = cpu_worker.get_memory_node_info

    def found(node: int = 0) -> object:
        return replace(of_node(node), available_memory=psutil.virtual_memory().available)

    cpu_worker.get_memory_node_info = found


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors.torch import load_file

    for file in sorted(folder.glob("*.safetensors")):
        yield from load_file(file).items()


def main() -> None:
    """Serve until stdin ends."""
    os.environ.update(ENVIRONMENT)
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # vLLM's own lines go to the log
    die_with_parent()
    server = Server()
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("do")
        try:
            reply = getattr(server, what)(**request)
        except Exception as error:  # vLLM and what it stands on raise their own kinds; the client decides
            reply = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
