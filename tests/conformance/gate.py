"""What a gate keeps: weights in [0, 1] that no gradient passes through, by the response alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gatebench.bench import keys
from gatebench.objectives import controls, gates
from gatebench.objectives.gates import CONTROLS, UNGATED, Gate
from tests.cases import token_log_probs


def weights(gate: Gate, log_probs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return gates.weights(gate, log_probs, mask, torch.Generator().manual_seed(5))


class GateConformance:
    """Fixtures: gate, with alpha and tau as numbers. One of another package is Gate(ITS_NAME, alpha, tau)."""

    @pytest.fixture
    def gate(self) -> Gate:
        raise NotImplementedError

    def test_its_weights_are_in_the_unit_interval_and_no_gradient_passes_through_them(self, gate):
        log_probs, mask = token_log_probs()
        g = weights(gate, log_probs.requires_grad_(), mask)
        assert g.shape in (mask.shape[:1], mask.shape)
        assert g.dtype == torch.float32
        assert not g.requires_grad
        assert ((g >= 0) & (g <= 1)).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_they_are_float32_whatever_the_log_probs_are(self, gate, dtype):
        log_probs, mask = token_log_probs()
        found = weights(gate, log_probs.to(dtype), mask)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, weights(gate, log_probs.to(dtype).float(), mask))

    def test_padding_has_no_effect_whatever_it_holds(self, gate):
        log_probs, mask = token_log_probs()
        wide = torch.cat([log_probs.masked_fill(~mask, -7.0), torch.full((6, 3), -3.0)], dim=1)
        wide_mask = torch.cat([mask, torch.zeros(6, 3, dtype=torch.bool)], dim=1)
        expected, found = weights(gate, log_probs, mask), weights(gate, wide, wide_mask)
        if expected.dim() == 2:
            expected, found = expected[mask], found[wide_mask]
        torch.testing.assert_close(found, expected)

    def test_another_order_of_the_batch_gives_the_same_weights_in_that_order(self, gate):
        log_probs, mask = token_log_probs()
        order = torch.tensor([3, 1, 5, 0, 4, 2])
        expected, found = weights(gate, log_probs, mask)[order], weights(gate, log_probs[order], mask[order])
        if gate.kind == "shuffled":  # drawn by place: what survives is the multiset
            expected, found = expected.sort().values, found.sort().values
        torch.testing.assert_close(found, expected)

    def test_a_batch_cut_in_parts_gives_every_pair_the_same_weight(self, gate):
        log_probs, mask = token_log_probs()
        parts = list(zip(log_probs.split([1, 3, 2]), mask.split([1, 3, 2]), strict=True))
        own = [controls.per_pair(weights(gate.source, *part), part[1]) for part in parts]
        field = controls.make_field([own], 0)
        cut = [
            gates.weights(gate, *part, torch.Generator().manual_seed(5), field, micro)
            for micro, part in enumerate(parts)
        ]
        torch.testing.assert_close(torch.cat(cut), weights(gate, log_probs, mask))

    def test_a_response_without_a_token_is_not_gated(self, gate):
        log_probs, mask = torch.tensor([[-3.0, -2.0], [0.0, 0.0]]), torch.tensor([[True, True], [False, False]])
        g = weights(gate, log_probs, mask)
        assert torch.isfinite(g).all()
        if g.dim() == 1 and gate.kind not in CONTROLS:  # whose weight is not the response's own
            assert g[1] == 1.0

    def test_it_keeps_every_bit_of_a_value(self, gate):
        log_probs, mask = token_log_probs()
        g = weights(gate, log_probs, mask)
        g = (g if g.dim() == 2 else g[:, None]).to(log_probs.dtype)
        assert torch.equal(gates.apply_gate(log_probs, g, gate.side), log_probs)

    def test_thresholds_in_units_of_the_data_become_numbers_once(self, gate):
        if gate.kind == UNGATED or gate.value is not None:
            assert gate.is_resolved
            return
        loose = replace(gate.source, tau="q50", alpha="5/tau")
        loose = replace(gate, of=loose) if gate.of else loose
        assert not loose.is_resolved
        log_probs, mask = token_log_probs()
        with pytest.raises(ValueError, match="resolve"):
            weights(loose, log_probs, mask)
        p = gates.counted_probabilities(gate.source.kind, log_probs, mask)
        found = gates.resolve_thresholds(loose, p)
        assert found.is_resolved
        assert found.source.tau == pytest.approx(p.nanmedian().item(), rel=0.5)
        assert found.source.alpha == pytest.approx(5 / found.source.tau)
        assert gates.resolve_thresholds(found, p / 2) == found
        weights(found, log_probs, mask)

    def test_it_can_stand_in_a_key_and_equal_gates_are_equal(self, gate):
        assert replace(gate) == gate
        assert hash(replace(gate)) == hash(gate)
        assert keys.digest(replace(gate)) == keys.digest(gate)
