"""LLaMA-Factory's DPO with the gate `seq`: python examples/llama_factory.py 0.05 100 dpo.yaml

In place of `llamafactory-cli train dpo.yaml`; before it stand tau, a probability, and alpha. LLaMA-Factory 0.9.5 takes
an older TRL than gatebench: install it first, and gatebench beside it with `pip install --no-deps gatebench`, as the
gate itself is torch alone.
"""

import sys

import torch
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.train.dpo import trainer as theirs
from llamafactory.train.tuner import run_exp

from gatebench.objectives.gates import apply_gate, weight

PER_TOKEN = ("ipo", "orpo", "simpo")  # of which LLaMA-Factory hands on means and not sums


def gated(trainer: type, tau: float, alpha: float) -> type:
    """Their trainer, the gradient of each rejected response scaled by sigmoid(alpha (p - tau)).

    p: the geometric mean of the response's token probabilities. The values of loss and log-probs stay theirs.
    """

    class Gated(trainer):
        def concatenated_forward(self, model, batch, is_ref_model=False):
            rejected = batch["labels"].chunk(2)[1][:, 1:]  # their forward takes the labels out of some batches
            tokens = (rejected != IGNORE_INDEX).sum(dim=1).clamp(min=1)
            output = super().concatenated_forward(model, batch, is_ref_model)
            if is_ref_model:
                return output
            log_probs = output["rejected_logps"]
            p = torch.exp(log_probs.detach().float() / (1 if self.loss_type in PER_TOKEN else tokens))
            return {**output, "rejected_logps": apply_gate(log_probs, weight(p, alpha, tau))}

    return Gated


if __name__ == "__main__":
    tau, alpha = (float(number) for number in sys.argv[1:3])
    del sys.argv[1:3]  # the rest is LLaMA-Factory's own
    theirs.CustomDPOTrainer = gated(theirs.CustomDPOTrainer, tau, alpha)
    run_exp()
