"""The cut of a batch into micro-batches, which a full memory can choose, is not seen in a cell's results."""

import pandas
import pytest
import torch
from safetensors.torch import load_file

from tests.helpers import DPO, plan_of, run_stage

SUITE = DPO.replace(
    "{kind: seq, alpha: 50, tau: q50}]",
    "{kind: seq, alpha: 5/tau, tau: q50}, {kind: constant, of: seq}, {kind: shuffled, of: seq}]",
)
WEIGHTS = "model/model.safetensors"
CONTROLS = ("constant", "shuffled")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A suite's text, batch and micro-batch -> its finished train stages: gate -> folder, facts, where it began."""
    folder = tmp_path_factory.mktemp("stages")

    def run(text, batch, micro, gates=None):
        found = {}
        plan = plan_of(folder, text, **{"train.batch_size": batch, "train.micro_batch_size": micro})
        for cell in plan.cells:
            for node in plan.needed_by(cell) if gates is None or cell.gate in gates else ():
                if node.kind != "dynamics" and not (folder / node.key).exists():
                    facts = run_stage(node, folder, folder / node.key)
                    if node.kind == "train":
                        found[cell.gate] = folder / node.key, facts, folder / cell.stages["warmup"]
        return found

    return run


@pytest.fixture(scope="module")
def trained(train):
    """gate, micro -> a finished train stage of batches of eight: its folder and facts."""
    return {(gate, micro): made for micro in (8, 2, 1) for gate, made in train(SUITE, 8, micro).items()}


def weights_of(folder):
    """All weights as one vector [N], in float64."""
    return torch.cat([weight.double().flatten() for _, weight in sorted(load_file(folder / WEIGHTS).items())])


def gate_means(folder):
    return torch.tensor(pandas.read_parquet(folder / "curves.parquet")["gate/mean"].to_numpy())


@pytest.mark.parametrize("gate", ["none", "seq", *CONTROLS])
@pytest.mark.parametrize("micro", [1, 2])
def test_a_cell_of_smaller_micro_batches_ends_with_the_same_weights_and_curves(trained, gate, micro):
    (whole, _, start), (parts, facts, _) = trained[gate, 8], trained[gate, micro]
    assert facts["micro_batch_size"] == micro
    assert facts["cautions"] == []
    expected = weights_of(whole)
    # RMSprop divides by the size of a gradient, so that a single weight whose own is all rounding may go anywhere
    moved, apart = expected - weights_of(start), weights_of(parts) - expected
    assert apart.norm() < 2e-4 * moved.norm()
    if gate != "none":
        torch.testing.assert_close(gate_means(parts), gate_means(whole), atol=1e-4, rtol=0)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_of_single_pairs_is_not_its_gate(trained, control):
    """Until then both had been one, to the bit, and their difference a claim's [0.00, 0.00]."""
    ours, gate = (load_file(trained[name, 1][0] / WEIGHTS) for name in (control, "seq"))
    assert max((ours[name] - gate[name]).abs().max().item() for name in gate) > 1e-3


def test_a_loss_that_couples_pairs_and_a_control_of_one_pair_are_cautions(train):
    """Facts, so that they reach the summary and the report."""
    coupled = SUITE.replace("[dpo]", "[{loss: 'trl:aot'}]")

    def cautions(text, batch, micro):
        _, facts, _ = train(text, batch, micro, ["shuffled"])["shuffled"]
        return facts["cautions"]

    assert cautions(coupled, 8, 8) == []
    (sentence,) = cautions(coupled, 8, 2)
    assert sentence.startswith("loss trl:aot takes the pairs that it sees at once together, and sees 2 of a batch of 8")
    (sentence,) = cautions(SUITE, 1, 1)
    assert sentence.startswith("gate shuffled: the effective batch is one pair")
