"""CPO, SimPO and ORPO beside TRL's experimental trainers: the same batch, loss and gradient of every weight."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from gatebench.objectives.pairs import PairLogProbs
from gatebench.objectives.registry import get_loss

SETTINGS = {
    "bf16": False, "report_to": [], "use_cpu": True, "max_length": 64, "remove_unused_columns": False,
    "gradient_checkpointing": False, "disable_dropout": True,
}  # fmt: skip
# TRL's likelihood is the mean over a micro-batch's tokens: that is `sft`, beside a CPO without its own
CASES = {
    "cpo": (CPOTrainer, CPOConfig, {"beta": 0.2, "cpo_alpha": 0.7}, 4,
            "cpo+0.7*sft", {"cpo": {"beta": 0.2, "alpha": 0}}),
    "cpo, one pair": (CPOTrainer, CPOConfig, {"beta": 0.2, "cpo_alpha": 0.7}, 1, "cpo", {"beta": 0.2, "alpha": 0.7}),
    "simpo": (CPOTrainer, CPOConfig, {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 1.4, "cpo_alpha": 0.0}, 4,
              "simpo", {"beta": 2.5, "gamma": 1.4}),
    "orpo, one pair": (ORPOTrainer, ORPOConfig, {"beta": 0.3}, 1, "orpo", {"lam": 0.3}),
}  # fmt: skip


def log_probs(model, batch, side):
    """Summed log-prob of a side's responses and their tokens, [B], [B], from the model's own logits."""
    logits = model(batch[f"{side}_input_ids"], attention_mask=batch[f"{side}_attention_mask"]).logits[:, :-1]
    labels = batch[f"{side}_labels"][:, 1:]
    mask = labels != -100
    tokens = logits.log_softmax(dim=-1).gather(2, labels.clamp(min=0)[..., None]).squeeze(2)
    return (tokens * mask).sum(dim=1), mask.sum(dim=1)


def ours(model, batch, name, parameters):
    (chosen, chosen_tokens), (rejected, rejected_tokens) = (log_probs(model, batch, s) for s in ("chosen", "rejected"))
    zero = torch.zeros_like(chosen)
    loss = get_loss(name)
    pairs = PairLogProbs(chosen, rejected, zero, zero, chosen_tokens, rejected_tokens)
    return loss.function(pairs, loss.make_parameters(**parameters)).mean()


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_trls_trainer(model_paths, tokenizer, preference_rows, tmp_path, case):
    kind, config, arguments, pairs, name, parameters = CASES[case]
    model = AutoModelForCausalLM.from_pretrained(model_paths["llama"])
    trainer = kind(
        model=model, args=config(str(tmp_path), per_device_train_batch_size=pairs, **SETTINGS, **arguments),
        train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer,
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    if kind is ORPOTrainer:  # whose likelihood counts the prompt too: one token of it has nothing to predict
        first = int((batch["chosen_labels"] != -100).int().argmax()) - 1
        batch = {key: value[:, first:] if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    model.eval()
    expected, _ = trainer.get_batch_loss_metrics(model, batch)
    found = ours(model, batch, name, parameters)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients(model, found), gradients(model, expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_odds_ratio_is_trls_for_several_pairs(model_paths, tokenizer, preference_rows, tmp_path):
    trainer = ORPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]), args=ORPOConfig(str(tmp_path), **SETTINGS),
        train_dataset=Dataset.from_list(preference_rows), processing_class=tokenizer,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 30, (50,), generator=generator)
    chosen, rejected = (-3 * torch.rand(50, generator=generator) for _ in range(2))  # a token
    mine, theirs = ([side.clone().requires_grad_() for side in (chosen, rejected)] for _ in range(2))
    zero, orpo = torch.zeros(50), get_loss("orpo")
    pairs = PairLogProbs(mine[0] * tokens, mine[1] * tokens, zero, zero, tokens, tokens)
    found = orpo.function(pairs, orpo.make_parameters(lam=0.1)).mean() + mine[0].mean()
    expected = -trainer.odds_ratio_loss(*theirs)[0].mean()
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, mine), torch.autograd.grad(expected, theirs), strict=True):
        torch.testing.assert_close(one, other)
