"""Generation by transformers: slower than vLLM, for every architecture and machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gatebench.bench.engines.sampling import Answer, Sampling

if TYPE_CHECKING:
    from transformers import StoppingCriteria

    from gatebench.objectives.causal_lm import CausalLM, Tokenizer

PROMPTS_A_BATCH = 16


def generate(
    model: CausalLM,
    tokenizer: Tokenizer,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    report: Callable[[float], None],
) -> list[Answer]:
    """An answer a prompt, in their order. report: the share done so far."""
    import torch

    torch.manual_seed(sampling.seed)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, Answer] = {}
    for start in range(0, len(order), PROMPTS_A_BATCH):
        batch = order[start : start + PROMPTS_A_BATCH]
        found |= dict(zip(batch, _batch(model, tokenizer, [prompts[i] for i in batch], sampling), strict=True))
        report(len(found) / len(prompts))
    return [found[i] for i in range(len(prompts))]


def log_probs(model: CausalLM, prompts: Sequence[list[int]]) -> list[list[float]]:
    """Log-probs of every token of each prompt but its first."""
    import torch

    found = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt], device=model.device)
            log_p = model(input_ids=ids).logits[0, :-1].float().log_softmax(dim=-1)
            found.append(log_p.gather(1, ids[0, 1:, None]).squeeze(1).tolist())
    return found


def end_tokens(model: CausalLM, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> tuple[int, ...]:
    """Ids that end an answer, in order: those of the model's generation_config, of its config and of its tokenizer
    (vLLM reads the same), and each stop that is a special token, whose text no decoded answer would show."""
    added = tokenizer.get_added_vocab()
    given = (model.generation_config.eos_token_id, getattr(model.config, "eos_token_id", None),
             tokenizer.eos_token_id, [added[text] for text in stop if text in added])  # fmt: skip
    return tuple(
        sorted({end for ends in given if ends is not None for end in (ends if isinstance(ends, list) else [ends])})
    )


def _batch(model: CausalLM, tokenizer: Tokenizer, prompts: Sequence[list[int]], sampling: Sampling) -> list[Answer]:
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    width = max(map(len, prompts))
    pad, ends = tokenizer.pad_token_id, end_tokens(model, tokenizer, sampling.stop)
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    asked = GenerationConfig(
        max_new_tokens=sampling.max_tokens, pad_token_id=pad, eos_token_id=list(ends), use_cache=True,
        return_dict_in_generate=True, output_logits=True,
        **(drawn if sampling.temperature > 0 else {"do_sample": False}),
    )  # fmt: skip
    stopping = StoppingCriteriaList([_stopping(tokenizer, width, sampling.stop)] if sampling.stop else [])
    # what we do not say transformers takes from the model's own: penalties, forced tokens
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        with torch.no_grad():  # no inference mode: what a model keeps for later, it may train with
            out = model.generate(
                input_ids=ids, attention_mask=mask, generation_config=asked, stopping_criteria=stopping
            )
    finally:
        model.generation_config = own
    log_p = torch.stack(out.logits, dim=1).float().log_softmax(dim=-1)  # [B, T, V]
    tokens = out.sequences[:, width:]
    chosen = log_p.gather(2, tokens[:, :, None]).squeeze(2)
    rows = zip(tokens.tolist(), chosen.tolist(), strict=True)
    return [_answer(row, values, tokenizer, sampling.stop, ends) for row, values in rows]


def _stopping(tokenizer: Tokenizer, width: int, stop: Sequence[str]) -> StoppingCriteria:
    """Ends a row whose answer, which starts at `width`, holds a stop: read as its text is, as vLLM does. The stop
    strings of transformers compare tokens, and end rows whose text shows no stop."""
    import torch
    from transformers import StoppingCriteria

    class Stopping(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
            ended = [_holds(tokenizer, row, stop) for row in input_ids[:, width:].tolist()]
            return torch.tensor(ended, device=input_ids.device)

    return Stopping()


def _holds(tokenizer: Tokenizer, tokens: Sequence[int], stop: Sequence[str]) -> bool:
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return any(words in text for words in stop)


def _answer(
    tokens: list[int], log_p: list[float], tokenizer: Tokenizer, stop: Sequence[str], ends: Sequence[int]
) -> Answer:
    """What a row drew, up to its first end or to the token that completes a stop: the rest is the padding of a row that
    ended before others of its batch, by a token that may itself be an end."""
    end = next((at for at, token in enumerate(tokens) if token in ends), None)
    own = tokens[:end]
    if _holds(tokenizer, own, stop):
        own = next(own[:n] for n in range(1, len(own) + 1) if _holds(tokenizer, own[:n], stop))
        end = None
    text = tokenizer.decode(own, skip_special_tokens=True)
    cuts = [text.index(words) for words in stop if words in text]
    total = sum(log_p[: len(own) + (end is not None)])
    return Answer(
        text[: min(cuts)] if cuts else text, tuple(own), "length" if end is None and not cuts else "stop", total
    )
