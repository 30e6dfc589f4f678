"""What a control draws on: the effective batch in order, completed by the pairs before it."""

import pytest
import torch

from gatebench.objectives import controls, gates
from gatebench.objectives.controls import MIN_FIELD, in_order, latest, make_field, per_pair
from gatebench.objectives.gates import Gate
from tests.cases import token_log_probs

SOURCES = {"seq": Gate("seq", 20.0, 0.3), "token": Gate("token", 20.0, 0.3)}
CUTS = {"whole": [8], "halves": [4, 4], "uneven": [3, 3, 2], "singles": [1] * 8}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["constant", "shuffled"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_control_gives_every_pair_the_same_weight_however_the_batch_is_cut(cut, kind, source):
    log_probs, mask = token_log_probs(batch=8)
    gate = Gate(kind, of=SOURCES[source])
    expected = gates.weights(gate, log_probs, mask, torch.Generator().manual_seed(2))
    parts = list(zip(log_probs.split(CUTS[cut]), mask.split(CUTS[cut]), strict=True))
    field = make_field([[per_pair(gates.weights(gate.of, *part), part[1]) for part in parts]], 0)
    found = [
        gates.weights(gate, *part, torch.Generator().manual_seed(2), field, micro) for micro, part in enumerate(parts)
    ]
    torch.testing.assert_close(torch.cat(found), expected)


def test_two_processes_have_the_field_of_one_and_their_own_places_in_it():
    """Micro-batch k of process p is batch 2k + p of a single process."""
    g = torch.arange(8.0)
    batches = [list(batch.split(1)) for batch in g.split(2)]
    processes = [batches[0::2], batches[1::2]]
    assert torch.equal(torch.cat([pair for micro in in_order(processes) for pair in micro]), g)
    one, other = make_field(processes, 0), make_field(processes, 1)
    assert torch.equal(one.weights, g)
    assert torch.equal(other.weights, g)
    assert (one.starts, other.starts) == ((0, 4), (2, 6))


def test_a_small_batch_is_followed_by_the_latest_pairs_before_it():
    before = []
    for step in range(5):
        batch = [[list(torch.tensor([10.0 * step, 10.0 * step + 1]).split(1))]]
        field = make_field(batch, 0, before)
        before = latest(batch, before)
    assert field.weights.tolist() == [40, 41, 31, 30, 21, 20, 11, 10]
    assert len(field.weights) == MIN_FIELD
    assert torch.cat(before).tolist() == [11, 20, 21, 30, 31, 40, 41]


def test_at_the_first_step_the_field_is_what_there_is_and_a_large_batch_needs_no_other():
    pair = [[[torch.tensor([0.25])]]]
    assert make_field(pair, 0).weights.tolist() == [0.25]
    large = [[list(torch.rand(MIN_FIELD).split(1))]]
    assert torch.equal(make_field(large, 0, [torch.tensor([7.0])]).weights, torch.cat(large[0][0]))


def test_the_tokens_of_earlier_pairs_complete_a_token_gates_field():
    before = [torch.tensor([0.1, 0.2]), torch.tensor([0.3])]
    assert make_field([[[torch.tensor([0.9, 0.8])]]], 0, before).weights.tolist() == pytest.approx(
        [0.9, 0.8, 0.3, 0.1, 0.2]
    )


def test_one_pair_draws_on_the_pairs_before_it_and_is_not_its_gate():
    """An effective batch of one, or the last of an epoch."""
    log_probs, mask = token_log_probs(batch=1)
    own = gates.weights(SOURCES["seq"], log_probs, mask)
    before = [torch.tensor([w]) for w in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
    field = make_field([[per_pair(own, mask)]], 0, before)
    matched = gates.weights(Gate("constant", of=SOURCES["seq"]), log_probs, mask, None, field)
    assert matched.item() == pytest.approx((own.item() + 2.8) / 8)
    drawn = {
        gates.weights(
            Gate("shuffled", of=SOURCES["seq"]), log_probs, mask, torch.Generator().manual_seed(seed), field
        ).item()
        for seed in range(100)
    }
    assert drawn == {own.item(), *torch.cat(before).tolist()}


def test_a_batch_of_one_pair_is_warned_of():
    sentence = controls.small_batch_caution("shuffled", 1)
    assert sentence.startswith("gate shuffled: the effective batch is one pair")
    assert controls.small_batch_caution("shuffled", 2) is None
