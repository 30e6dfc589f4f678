"""Every trl:NAME is TRL's own loss: the same batch through DPOTrainer._compute_loss and through our function."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from trl import DPOTrainer

from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import get_loss
from gatebench.objectives.trl_losses import TYPES
from tests.cases import NEEDED


class Accelerator:
    """One process: gathering is the identity."""

    device = torch.device("cpu")

    def gather(self, value):
        return value

    gather_for_metrics = gather


def theirs(name, parameters, log_probs, mask, ref):
    """TRL's batch loss for token log-probs [2B, T], on a trainer that is nothing but its settings."""
    trainer = DPOTrainer.__new__(DPOTrainer)
    trainer.model = torch.nn.Identity()
    trainer.accelerator = Accelerator()
    trainer.args = SimpleNamespace(discopop_tau=parameters.discopop_tau, gradient_checkpointing_kwargs=None)
    trainer.aux_loss_enabled, trainer.ld_alpha, trainer.use_weighting = False, None, False
    trainer.precompute_ref_logps, trainer.f_divergence_type = True, "reverse_kl"
    trainer.beta, trainer.label_smoothing = parameters.beta, parameters.label_smoothing
    trainer.loss_types, trainer.loss_weights = [name], [1.0]
    trainer._metrics, trainer._total_train_tokens, trainer._tp_size = {"train": defaultdict(list)}, 0, 1
    zeros = torch.zeros_like(log_probs)

    def model(**_):
        return SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

    full = torch.cat([torch.zeros(mask.shape[0], 1, dtype=torch.long), mask], dim=1)
    inputs = {
        "input_ids": torch.ones_like(full), "attention_mask": torch.ones_like(full), "completion_mask": full,
        "ref_chosen_logps": ref[0], "ref_rejected_logps": ref[1],
    }  # fmt: skip
    return trainer._compute_loss(model, inputs, return_outputs=False)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_trls(name, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(7)[None] < torch.randint(1, 8, (8, 1), generator=generator)).long()
    values = -3 * torch.rand(8, 7, generator=generator) * mask
    ref = (-9 * torch.rand(4, generator=generator), -9 * torch.rand(4, generator=generator))
    loss = get_loss(f"trl:{name}")
    parameters = loss.make_parameters(beta=0.3, **NEEDED.get(f"trl:{name}", {}))

    ours_in, theirs_in = values.clone().requires_grad_(), values.clone().requires_grad_()
    chosen, rejected = ours_in.sum(dim=1).chunk(2)
    lengths = mask.sum(dim=1).chunk(2)
    ours = loss.function(PairLogProbs(chosen, rejected, *ref, *lengths), parameters).mean()
    expected = theirs(name, parameters, theirs_in, mask, ref)
    torch.testing.assert_close(ours, expected)
    (gradient,), (expected_gradient,) = torch.autograd.grad(ours, ours_in), torch.autograd.grad(expected, theirs_in)
    torch.testing.assert_close(gradient * mask, expected_gradient * mask)
