"""What every loss and gate reads: the log-probabilities of a batch of preference pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

AT_A_KINK = 1e-3  # nats: sums that are nearer may be told apart by nothing but how a batch was laid out or cut


@dataclass(frozen=True)
class EffectiveBatch:
    """What an optimizer step takes together, over all micro-batches and processes; chosen_tokens: [], a count."""

    pairs: int
    chosen_tokens: Tensor


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities of B preference pairs, in nats.

    chosen, rejected:              [B] policy log-prob of the whole response (end token included)
    ref_chosen, ref_rejected:      [B] the same under the frozen reference policy
    chosen_tokens, rejected_tokens: [B] number of response tokens
    progress:                      share of the optimizer steps already taken, in [0, 1]
    part_of:                       the effective batch that these pairs are a part of, where they are not all of it
    chosen_unscored:               [B] how many of chosen_tokens have no log-prob: the first, where there is no prompt
    of_batch:                      [B, K] what the loss took of the effective batch, see losses/whole_batch.py

    Raises ValueError when a field is not a vector of the batch's length.
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    progress: float = 0.0
    part_of: EffectiveBatch | None = None
    chosen_unscored: Tensor | None = None
    of_batch: Tensor | None = None

    def __post_init__(self) -> None:
        batch = self.chosen.shape
        if len(batch) != 1:
            raise ValueError(f"PairLogProbs.chosen must have shape [B], got {tuple(batch)}")
        for name in ("rejected", "ref_chosen", "ref_rejected", "chosen_tokens", "rejected_tokens"):
            shape = getattr(self, name).shape
            if shape != batch:
                raise ValueError(f"PairLogProbs.{name} must have shape {tuple(batch)}, got {tuple(shape)}")
        if not 0.0 <= self.progress <= 1.0:
            raise ValueError(f"PairLogProbs.progress must be in [0, 1], got {self.progress}")

    def detached(self) -> PairLogProbs:
        """The same values, from which no gradient flows back."""
        return replace(
            self, chosen=self.chosen.detach(), rejected=self.rejected.detach(),
            ref_chosen=self.ref_chosen.detach(), ref_rejected=self.ref_rejected.detach(),
        )  # fmt: skip

    @property
    def chosen_scored(self) -> Tensor:
        """Number of chosen tokens whose log-probs are in `chosen`, [B]."""
        return self.chosen_tokens if self.chosen_unscored is None else self.chosen_tokens - self.chosen_unscored

    @property
    def effective_batch(self) -> EffectiveBatch:
        return self.part_of or EffectiveBatch(self.chosen.numel(), self.chosen_scored.sum())

    @property
    def chosen_ratio(self) -> Tensor:
        """a = lc - rc, [B]."""
        return self.chosen - self.ref_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        """b = lr - rr, [B]."""
        return self.rejected - self.ref_rejected

    @property
    def margin(self) -> Tensor:
        """h = a - b, [B]."""
        return self.chosen_ratio - self.rejected_ratio

    @property
    def chosen_per_token(self) -> Tensor:
        """lc / |yc|, [B]; a response truncated to nothing counts as one token."""
        return self.chosen / self.chosen_tokens.clamp(min=1)

    @property
    def rejected_per_token(self) -> Tensor:
        """lr / |yr|, [B]; a response truncated to nothing counts as one token."""
        return self.rejected / self.rejected_tokens.clamp(min=1)

    @property
    def chosen_ratio_per_token(self) -> Tensor:
        """a / |yc|, [B]; a response truncated to nothing counts as one token."""
        return self.chosen_ratio / self.chosen_tokens.clamp(min=1)

    @property
    def rejected_ratio_per_token(self) -> Tensor:
        """b / |yr|, [B]; a response truncated to nothing counts as one token."""
        return self.rejected_ratio / self.rejected_tokens.clamp(min=1)


def masked_sum(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Sum per-token log-probs [B, T] over the response positions of mask [B, T] -> [B]."""
    if log_probs.shape != mask.shape:
        raise ValueError(f"log_probs {tuple(log_probs.shape)} and mask {tuple(mask.shape)} must have one shape")
    return log_probs.masked_fill(mask == 0, 0.0).sum(dim=1)
