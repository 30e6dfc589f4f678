"""Before a fast path is trusted: its log-probs against those of plain transformers, on the loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gatebench.objectives.causal_lm import CausalLM, is_out_of_memory
from gatebench.objectives.layout.architecture import refusal
from gatebench.objectives.layout.shared_prompt import multiple_of, target_log_probs

BOUND = 1e-4  # nats, of the token that differs most, in float32
# In a half precision rounding moves single tokens by up to 0.08 and 0.01 nats, in whatever order their sums are taken,
# and the mean by no more than 0.013 and 0.002; a window that is left out moves the mean by 0.09 and more (families of
# tests/architectures.py, and eight layers of four of them). So there the mean is judged.
HALF_BOUNDS = {torch.bfloat16: 0.05, torch.float16: 0.01}
Texts = Sequence[tuple[list[int], list[int]]]  # a prompt and a response to it each


def doubt(
    model: CausalLM, texts: Texts, fast: Callable[[], Tensor], columns: int, longest: int | None = None
) -> str | None:
    """Why a fast path must not be used, as the beginning of a sentence; None where it may be.

    texts: the rows to prove it on, as long as any that will come; fast: the log-prob of each of their response tokens,
    in order, [N]; columns: of the widest row as the path lays it out; longest: tokens of the longest text, where texts
    do not show it. Draws no random number and leaves the model as it was.
    """
    name = type(model).__name__
    reason = refusal(model.config, longest or max(len(p) + len(r) for p, r in texts), columns)
    if reason:
        return f"{name} {reason}"
    with _measured(model):
        try:
            found = fast()
        except Exception as error:  # whatever an architecture does that was not made for this
            if is_out_of_memory(error):
                raise
            said = "".join(str(error).splitlines()[:1])
            return f"{name} cannot do it ({type(error).__name__}: {said})"
        expected = torch.cat([plain_log_probs(model, *text) for text in texts])
    off = (found - expected).abs()
    half = model.dtype in HALF_BOUNDS
    difference = (off.mean() if half else off.max()).item()
    if difference <= HALF_BOUNDS.get(model.dtype, BOUND):  # not where one is no number
        return None
    return f"{name} differs from plain transformers by {difference:.2g} nats a token"


@contextmanager
def _measured(model: CausalLM) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def plain_log_probs(model: CausalLM, prompt: list[int], response: list[int]) -> Tensor:
    """Log-prob of each response token [N] in an ordinary row, as transformers computes it."""
    row, multiple = prompt + response[:-1], multiple_of(model)
    gap = -len(row) % multiple
    ids = torch.tensor([[*row, *[0] * gap]], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * gap], device=model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, len(prompt) - 1 : len(row)]
    return target_log_probs(logits.float(), torch.tensor(response, device=model.device))
