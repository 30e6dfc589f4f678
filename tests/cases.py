"""The one loss x gate matrix: every test over losses or gates takes its cases from here."""

from __future__ import annotations

from typing import Any

import torch

from gatebench.objectives.gates import Gate
from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import BUILT_IN, Loss, get_loss

SELECTIVE = Gate("seq", 20.0, 0.3)
GATES = {
    "none": Gate(),
    "seq": SELECTIVE,
    "q10": Gate("q10", 20.0, 0.2),
    "q50": Gate("q50", 20.0, 0.2),
    "token": Gate("token", 20.0, 0.3),
    "constant": Gate("constant", value=0.25),
    "matched": Gate("constant", of=SELECTIVE),
    "shuffled": Gate("shuffled", of=SELECTIVE),
    "down": Gate("seq", 20.0, 0.3, side="down"),
}
NEEDED: dict[str, dict[str, Any]] = {"trl:exo_pair": {"label_smoothing": 1e-3}, "trl:robust": {"label_smoothing": 0.1}}
LOSSES: dict[str, tuple[Loss, Any]] = {
    loss.name: (loss, loss.make_parameters(**NEEDED.get(loss.name, {}))) for loss in BUILT_IN
}
LOSSES |= {
    f"{name} {extra}": (loss, loss.make_parameters(**extra))
    for name, extra in (
        ("ipo", {"length": "sum"}), ("sft", {"length": "sum"}), ("cal_dpo", {"beta": 0.001}),
        ("dpo_shift", {"lam": 0.95, "beta": 0.1}), ("dpo_shift", {"schedule": "linear_up"}),
        ("dpo_shift", {"schedule": "linear_down"}), ("dpop", {"beta": 0.1, "lam": 5.0}), ("bdpo", {"lam": 1.0}),
        ("slic", {"length": "sum"}), ("beta_dpo", {"a": 0.0, "keep": 1.0}),
        ("dpo", {"f_divergence_type": "js_divergence"}), ("trl:ipo", {"f_divergence_type": "alpha_divergence"}),
    )
    for loss in BUILT_IN if loss.name == name
}  # fmt: skip

LOSSES |= {
    name: (get_loss(name), get_loss(name).make_parameters(**extra))
    for name, extra in (
        ("dpo+0.2*nll", {"beta": 0.3}), ("bdpo+0.5*sft", {}), ("0.3*alpha_dpo+slic", {"slic": {"length": "sum"}}),
    )
}  # fmt: skip


def golden_pair(dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> PairLogProbs:
    """MATHS.md: (lc, lr, rc, rr) = (-50, -62, -52, -60), lengths 20 and 25."""

    def one(value: float, grad: bool = False) -> torch.Tensor:
        return torch.tensor([value], dtype=dtype, requires_grad=grad)

    return PairLogProbs(
        one(-50, requires_grad), one(-62, requires_grad), one(-52), one(-60), torch.tensor([20]), torch.tensor([25])
    )


def token_log_probs(batch: int = 6, width: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random rejected token log-probs [B, T] in float64 and their mask, zero outside it."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (batch,), generator=generator)
    mask = torch.arange(width)[None] < lengths[:, None]
    values = -2.5 * torch.rand(batch, width, generator=generator, dtype=torch.float64)
    return values * mask, mask


def batch_from(rejected: torch.Tensor, mask: torch.Tensor, seed: int = 1, progress: float = 0.4) -> PairLogProbs:
    """Random pairs whose rejected log-prob is the sum of the given token log-probs."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return -12 * torch.rand(rejected.shape[0], generator=generator, dtype=torch.float64)

    chosen = draw().requires_grad_()
    tokens = mask.sum(dim=1)
    return PairLogProbs(chosen, rejected.sum(dim=1), draw(), draw(), tokens + 1, tokens, progress)
