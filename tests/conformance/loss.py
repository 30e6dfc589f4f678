"""What a loss keeps: a value a pair, the gradients that its docstring gives, and no knowledge of gates."""

from __future__ import annotations

import copy
import re
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
import torch

from gatebench.bench import keys
from gatebench.objectives import gates
from gatebench.objectives.gates import Gate
from gatebench.objectives.loss import AnyLoss
from gatebench.objectives.names import UnknownWord
from gatebench.objectives.pairs import EffectiveBatch, PairLogProbs
from tests.cases import batch_from, token_log_probs

TENSORS = ("chosen", "rejected", "ref_chosen", "ref_rejected", "chosen_tokens", "rejected_tokens")
SELECTIVE = {"seq": Gate("seq", 20.0, 0.3), "token": Gate("token", 20.0, 0.3)}


def of_batch(loss: AnyLoss, parameters: Any, pairs: PairLogProbs) -> torch.Tensor | None:
    """What the loss takes of these pairs as an effective batch of a first step, [B, K], if it takes anything."""
    return loss.of_batch(pairs.detached(), parameters, (), None).rows if loss.of_batch else None


class LossConformance:
    """Fixtures: loss; where it needs them, parameters (by default its own defaults).

    reaches_rejected: False where the loss does not look at rejected responses; ranks_the_batch: True where pairs are
    ranked, so that only the multiset of values survives another order of the batch.
    """

    @pytest.fixture
    def loss(self) -> AnyLoss:
        raise NotImplementedError

    @pytest.fixture
    def parameters(self, loss: AnyLoss) -> Any:
        return loss.make_parameters()

    @pytest.fixture
    def reaches_rejected(self) -> bool:
        return True

    @pytest.fixture
    def ranks_the_batch(self) -> bool:
        return False

    def test_it_gives_a_finite_number_a_pair(self, loss, parameters):
        found = loss.function(batch_from(*token_log_probs()), parameters)
        assert found.shape == (6,)
        assert torch.isfinite(found).all()

    def test_a_response_truncated_to_nothing_still_gives_one(self, loss, parameters):
        zero, tokens = torch.zeros(2), torch.zeros(2, dtype=torch.long)
        pairs = PairLogProbs(torch.tensor([-4.0, 0.0]), zero, zero, zero, torch.tensor([3, 0]), tokens)
        assert torch.isfinite(loss.function(pairs, parameters)).all()

    def test_its_gradients_reach_the_sides_that_it_says_and_no_reference(self, loss, parameters, reaches_rejected):
        rejected, mask = token_log_probs()
        pairs = batch_from(rejected.requires_grad_(), mask)
        given = [pairs.chosen, rejected, pairs.ref_chosen.requires_grad_(), pairs.ref_rejected.requires_grad_()]
        chosen, down, *_ = torch.autograd.grad(
            loss.function(pairs, parameters).sum(), given, allow_unused=True, materialize_grads=True
        )
        assert chosen.ne(0).any()
        assert down.ne(0).any().item() is reaches_rejected

    def test_its_gradients_are_those_of_its_value(self, loss, parameters):
        generator = torch.Generator().manual_seed(3)
        values = [-10 * torch.rand(5, generator=generator, dtype=torch.float64) for _ in range(4)]
        lengths = torch.tensor([1, 2, 3, 4, 5])

        known = of_batch(loss, parameters, PairLogProbs(*values, lengths, lengths + 1))

        def value(chosen, rejected):
            pairs = PairLogProbs(chosen, rejected, *values[2:], lengths, lengths + 1, 0.3, of_batch=known)
            return loss.function(pairs, parameters)

        assert torch.autograd.gradcheck(value, [side.requires_grad_() for side in values[:2]])

    def test_the_order_of_the_pairs_does_not_matter(self, loss, parameters, ranks_the_batch):
        pairs, order = batch_from(*token_log_probs()), torch.tensor([3, 1, 5, 0, 4, 2])
        moved = PairLogProbs(*(getattr(pairs, name)[order] for name in TENSORS), pairs.progress)
        expected, found = loss.function(pairs, parameters), loss.function(moved, parameters)
        if ranks_the_batch:
            torch.testing.assert_close(found.sort().values, expected.sort().values)
        else:
            torch.testing.assert_close(found, expected[order])

    def test_a_batch_cut_in_parts_gives_the_same_unless_it_says_that_it_couples_pairs(self, loss, parameters):
        pairs = batch_from(*token_log_probs())
        whole = EffectiveBatch(6, pairs.chosen_tokens.sum())
        parts = zip(*(getattr(pairs, name).split([1, 3, 2]) for name in TENSORS), strict=True)
        known = of_batch(loss, parameters, pairs)
        rows = [None] * 3 if known is None else known.split([1, 3, 2])
        cut = [
            loss.function(PairLogProbs(*part, pairs.progress, whole, of_batch=own), parameters)
            for part, own in zip(parts, rows, strict=True)
        ]
        expected = loss.function(pairs, parameters)
        assert torch.allclose(torch.cat(cut), expected) is not loss.couples_pairs

    def test_it_changes_nothing_that_it_is_given_and_twice_gives_the_same(self, loss, parameters):
        pairs = batch_from(*token_log_probs())
        before = {name: getattr(pairs, name).clone() for name in TENSORS}
        first = loss.function(pairs, parameters)
        assert torch.equal(loss.function(pairs, parameters), first)
        assert all(torch.equal(getattr(pairs, name), value) for name, value in before.items())

    @pytest.mark.parametrize("gate", SELECTIVE)
    def test_a_gate_leaves_its_value_and_scales_the_rejected_gradient_alone(self, loss, parameters, gate):
        def gated(gate):
            rejected, mask = token_log_probs()
            rejected.requires_grad_()
            g = gates.weights(gate, rejected, mask).to(rejected.dtype)
            g = g if g.dim() == 2 else g[:, None]
            pairs = batch_from(gates.apply_gate(rejected, g) * mask, mask)
            value = loss.function(pairs, parameters)
            sides = torch.autograd.grad(
                value.sum(), (pairs.chosen, rejected), allow_unused=True, materialize_grads=True
            )
            return value, *sides, g

        value, chosen, rejected, _ = gated(Gate())
        gated_value, gated_chosen, gated_rejected, g = gated(SELECTIVE[gate])
        assert torch.equal(gated_value, value)
        assert torch.equal(gated_chosen, chosen)
        torch.testing.assert_close(gated_rejected, g * rejected)

    def test_its_parameters_are_frozen_and_can_stand_in_a_key(self, loss, parameters):
        for field in fields(parameters):
            with pytest.raises(FrozenInstanceError):
                setattr(parameters, field.name, None)
        assert keys.digest(parameters) == keys.digest(copy.deepcopy(parameters))

    def test_a_parameter_that_it_has_not_is_refused_with_the_nearest_word(self, loss):
        with pytest.raises(UnknownWord, match=re.escape(f"unknown parameter of {loss.name} 'no_such_thing'")):
            loss.make_parameters(no_such_thing=1)
        for name in loss.known:
            with pytest.raises(UnknownWord, match=f"did you mean '{name}'"):
                loss.make_parameters(**{f"{name}x": 1})

    def test_it_warns_in_a_sentence_or_not_at_all(self, loss, parameters):
        sentence = loss.caution(parameters)
        assert sentence is None or (isinstance(sentence, str) and sentence.strip())
