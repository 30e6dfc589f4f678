"""Generation by transformers: slower than vLLM, for every architecture and machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gatebench.bench.engines.sampling import Answer, Sampling

if TYPE_CHECKING:
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


def _batch(model: CausalLM, tokenizer: Tokenizer, prompts: Sequence[list[int]], sampling: Sampling) -> list[Answer]:
    import torch

    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    more = {"stop_strings": list(sampling.stop), "tokenizer": tokenizer} if sampling.stop else {}
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=sampling.max_tokens, pad_token_id=pad,
            eos_token_id=tokenizer.eos_token_id, return_dict_in_generate=True, output_logits=True, use_cache=True,
            **(drawn if sampling.temperature > 0 else {"do_sample": False}), **more,
        )  # fmt: skip
    log_p = torch.stack(out.logits, dim=1).float().log_softmax(dim=-1)  # [B, T, V]
    tokens = out.sequences[:, width:]
    chosen = log_p.gather(2, tokens[:, :, None]).squeeze(2)
    rows = zip(tokens.tolist(), chosen.tolist(), strict=True)
    return [_answer(own, values, tokenizer, sampling) for own, values in rows]


def _answer(tokens: list[int], log_p: list[float], tokenizer: Tokenizer, sampling: Sampling) -> Answer:
    end = tokenizer.eos_token_id
    drew_end = ended = end in tokens
    own = tokens[: tokens.index(end)] if end in tokens else tokens
    text = tokenizer.decode(own, skip_special_tokens=True)
    cuts = [text.index(stop) for stop in sampling.stop if stop in text]
    if cuts and not ended:  # rows of a batch that stopped early are padded to its longest
        while own and any(stop in tokenizer.decode(own[:-1], skip_special_tokens=True) for stop in sampling.stop):
            own = own[:-1]
        ended = True
    total = sum(log_p[: len(own) + drew_end])
    return Answer(text[: min(cuts)] if cuts else text, tuple(own), "stop" if ended else "length", total)
