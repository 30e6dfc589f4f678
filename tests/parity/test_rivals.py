"""The rivals in real trainings: any cut of the batch, either layout, beside any gate; and mixes beside TRL's own."""

import pytest
import torch

from gatebench.objectives.trl import GatedDPOConfig
from tests.parity.test_cuts import STEP, assert_close_weights, cut
from tests.parity.test_trainer import train, weights

LOSSES = {
    "dpop": {"beta": 0.1, "lam": 5}, "bdpo": {}, "bpo": {}, "r_dpo": {}, "simpo": {}, "cpo": {}, "orpo": {}, "slic": {},
    "alpha_dpo": {}, "beta_dpo": {"a": 1.0}, "dpo+0.2*nll": {}, "bdpo+0.5*sft": {},
}  # fmt: skip
GATES = {
    "seq": {"gate": "seq"},
    "token, down": {"gate": "token", "gate_side": "down"},
    "of the reference": {"gate": "q50", "gate_probability": "reference"},
    "shuffled": {"gate": "shuffled", "gate_of": "seq"},
    "constant": {"gate": "constant", "gate_of": "seq"},
}


@pytest.fixture
def trained(model_paths, tokenizer, preference_rows, tmp_path):
    def run(kind="ours", rows=16, steps=2, **arguments):
        path = model_paths["llama"]
        return train(kind, path, tokenizer, preference_rows[:rows], tmp_path, steps=steps, **STEP | arguments)

    return run


@pytest.mark.parametrize("name", LOSSES)
def test_neither_the_cut_nor_the_layout_is_of_account(trained, name):
    """13 pairs: the second batch has five, which micro-batches of two cut into 2, 2 and 1."""
    arguments = {"rows": 13, "loss": name, "loss_parameters": LOSSES[name]}
    whole = trained(**arguments, **cut(8))
    assert_close_weights(trained(**arguments, **cut(2)), whole)
    assert_close_weights(trained(**arguments, **cut(8), layout="one_row"), whole)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", LOSSES)
def test_every_gate_acts_on_every_rival_and_any_cut_of_it(trained, name, gate):
    arguments = {"loss": name, "loss_parameters": LOSSES[name], "steps": 2, "gate_alpha": "5/tau", **GATES[gate]}
    whole = trained(**arguments, **cut(8))
    ungated = trained(loss=name, loss_parameters=LOSSES[name], **cut(8))
    assert any(not torch.equal(weights(whole)[part], weight) for part, weight in weights(ungated).items())
    assert all(torch.isfinite(weight).all() for weight in weights(whole).values())
    assert_close_weights(trained(**arguments, **cut(2)), whole)


@pytest.mark.parametrize("written", ["trl:sigmoid+0.2*trl:sft", {"trl:sigmoid": 1, "trl:sft": 0.2}, "dpo+0.2*sft"])
def test_a_mix_is_trls_list_of_loss_types(trained, written):
    theirs = trained("stock", loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.2], beta=0.3)
    ours = trained(loss=written, beta=0.3)
    assert_close_weights(ours, theirs)
    assert ours.state.log_history[0]["loss"] == pytest.approx(theirs.state.log_history[0]["loss"], rel=1e-5)
    assert ours.state.log_history[1]["rewards/margins"] == pytest.approx(
        theirs.state.log_history[1]["rewards/margins"], rel=1e-3
    )


def test_a_command_line_writes_a_mix_as_one_name(tmp_path):
    from trl import TrlParser

    (found,) = TrlParser((GatedDPOConfig,)).parse_args_and_config(
        ["--output_dir", str(tmp_path), "--loss", "dpo+0.2*nll", "--loss_parameters", '{"dpo": {"beta": 0.3}}',
         "--use_cpu", "true", "--bf16", "false"]
    )  # fmt: skip
    assert (found.loss, found.beta) == ("dpo+0.2*nll", 0.3)


@pytest.mark.parametrize(("loss", "said"), [("alpha_dpo", True), ("beta_dpo", True), ("simpo", False)])
def test_a_batch_of_one_pair_is_said_of_a_loss_that_compares_pairs(trained, caplog, loss, said):
    trained(loss=loss, steps=1, **cut(1, 1))
    found = [record for record in caplog.records if "compares a pair with the others" in record.getMessage()]
    assert len(found) == said
