"""lm-eval's tasks through a vLLM engine that is already warm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatebench.bench.engines.sampling import Sampling
from gatebench.bench.engines.vllm import Engine

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

TokenRequest = tuple[object, list[int], list[int]]  # lm-eval's texts, then the tokens of context and continuation


def make_model(engine: Engine, ends: Sequence[int], **hugging_face: object) -> HFLM:
    """lm-eval's own hf model, whose scores and answers come from the engine: what is a token, a prompt, a chat template
    or a stop stays lm-eval's. ends: `transformers.end_tokens` of the model."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.utils import normalize_gen_kwargs

    class EngineModel(HFLM):  # type: ignore[misc, unused-ignore]
        def _loglikelihood_tokens(
            self, requests: Sequence[TokenRequest], *_: object, **__: object
        ) -> list[tuple[float, bool]]:
            most = engine.max_length - 1  # the engine wants room for a token to follow
            rows = [(context + continuation)[-most:] for _, context, continuation in requests]
            scored = zip(*engine.score(rows), (len(continuation) for *_, continuation in requests), strict=True)
            return [(sum(log_p[-n:]), all(first[-n:])) for log_p, first, n in scored]

        def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
            found: dict[int, str] = {}
            asked: dict[Sampling, list[int]] = {}
            for index, request in enumerate(requests):
                wish = normalize_gen_kwargs(request.args[1], self.max_gen_toks)
                sampling = Sampling(
                    wish["temperature"], wish.get("top_p", 1.0), wish["max_gen_toks"], tuple(wish["until"])
                )
                asked.setdefault(sampling, []).append(index)
            for sampling, indices in asked.items():
                room = engine.max_length - sampling.max_tokens
                prompts = [self.tok_encode(requests[i].args[0], left_truncate_len=room) for i in indices]
                answers = engine.generate(prompts, sampling, ends)
                found |= {i: answer.text for i, answer in zip(indices, answers, strict=True)}
            return [found[i] for i in range(len(requests))]

    return EngineModel(**hugging_face)
