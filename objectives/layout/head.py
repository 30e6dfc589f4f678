"""From last hidden states to a model's own logits, at the positions that are wanted alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatebench.objectives.causal_lm import CausalLM, CausalLMConfig, LMHead


@dataclass(frozen=True)
class ScaledHead:
    """The last linear map, and what its model makes of the result: softcap * tanh(scale * x / softcap).

    weight: [V, H], bias: [V] or None, of the map.
    """

    linear: LMHead
    scale: float = 1.0
    softcap: float | None = None

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        return self.linear.bias

    def __call__(self, hidden: Tensor, /) -> Tensor:
        """[..., H] -> logits [..., V]."""
        logits = self.linear(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap


def head_of(model: CausalLM) -> ScaledHead:
    """By the names that transformers' configurations have for it; a name that is not known here fails the proof."""
    config = model.config.get_text_config()
    return ScaledHead(model.get_output_embeddings(), _scale(config), getattr(config, "final_logit_softcapping", None))


def _scale(config: CausalLMConfig) -> float:
    """As TRL's fused head reads it: Cohere's, Falcon-H1's factor, Granite's divisor."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        factor: float | None = getattr(config, name, None)
        if factor is not None:
            return factor
    divisor: float | None = getattr(config, "logits_scaling", None)
    if divisor is None:
        return 1.0
    return divisor if config.model_type == "hyperclovax" else 1 / divisor
