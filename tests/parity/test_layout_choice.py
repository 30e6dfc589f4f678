"""A layout that a model cannot take is left for TRL's two rows, once for all batches, and its user is told."""

import pytest
import torch
from datasets import Dataset

from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from tests.architectures import save
from tests.helpers import load_model
from tests.parity.test_trainer import assert_same_bits, train

LONG = {"prompt": "a word " * 40, "chosen": " yes", "rejected": " no"}


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    return lambda name: save(name, tokenizer, tmp_path_factory.mktemp("models") / "model")


@pytest.mark.parametrize("layout", ["one_row", "packed"])
def test_a_window_is_trained_as_trl_does_bit_for_bit(saved, tokenizer, preference_rows, tmp_path, caplog, layout):
    path = saved("mistral, window")
    ours, theirs = (
        train("ours", path, tokenizer, preference_rows, tmp_path, "precomputed", layout=way) for way in (layout, "trl")
    )
    assert_same_bits(ours, theirs)
    assert theirs.layout_caution is None
    said = [record.message for record in caplog.records if record.message.startswith("layout")]
    assert said == [ours.layout_caution]
    assert said[0].startswith(f"layout {layout}: MistralForCausalLM looks back 8 tokens where rows have up to ")
    assert said[0].endswith("; two rows a pair are used")


@pytest.mark.parametrize("name", ["granite", "gemma2", "cohere", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("logits", ["kept", "in tiles"])
def test_a_head_is_that_of_its_model(saved, tokenizer, preference_rows, tmp_path, monkeypatch, name, logits):
    path = saved(name)

    def losses(layout):
        done = train("ours", path, tokenizer, preference_rows, tmp_path, "precomputed", steps=3, layout=layout)
        assert done.layout_caution is None
        return torch.tensor([[entry[key] for key in ("loss", "logps/chosen", "logits/chosen", "entropy", "grad_norm")]
                             for entry in done.state.log_history if "loss" in entry])  # fmt: skip

    expected = losses("trl")
    if logits == "in tiles":
        monkeypatch.setattr("gatebench.objectives.layout.trl_output.LOGITS_KEPT", 0)
    torch.testing.assert_close(losses("one_row"), expected, atol=1e-3, rtol=1e-3)


def test_experts_are_trained_with_their_routers_loss(saved, tokenizer, preference_rows, tmp_path):
    done = train("ours", saved("mixtral"), tokenizer, preference_rows, tmp_path, "precomputed", layout="one_row")
    assert "MixtralForCausalLM has a router, whose loss TRL takes of two rows" in done.layout_caution
    assert all("aux_loss" in entry for entry in done.state.log_history if "loss" in entry)


def trainer(path, tokenizer, data, evaluated=None, **more):
    arguments = {"max_length": 96, "use_cpu": True, "bf16": False, "report_to": [], "layout": "one_row", **more}
    return GatedDPOTrainer(
        model=load_model(path), args=GatedDPOConfig(**arguments), train_dataset=data, processing_class=tokenizer,
        eval_dataset=evaluated,
    )  # fmt: skip


def test_the_longest_rows_are_looked_at_wherever_they_stand(saved, tokenizer, preference_rows, tmp_path):
    path, where = saved("gemma3_text"), {"output_dir": str(tmp_path)}
    short = Dataset.from_list(preference_rows)
    assert trainer(path, tokenizer, short, **where).layout_caution is None
    long = Dataset.from_list([*preference_rows, LONG])
    beyond = "looks back 64 tokens where rows have up to"
    assert beyond in trainer(path, tokenizer, long, **where).layout_caution
    assert beyond in trainer(path, tokenizer, short, long, **where).layout_caution
    assert beyond in trainer(path, tokenizer, short, {"a": short, "b": long}, **where).layout_caution
    cut = trainer(path, tokenizer, long, **where, max_length=64)  # LONG, of prompt alone, is left out
    assert cut.layout_caution is None


def test_a_stream_may_have_rows_as_long_as_the_longest_allowed(saved, tokenizer, preference_rows, tmp_path):
    path = saved("gemma3_text")
    stream = Dataset.from_list(preference_rows).to_iterable_dataset()
    arguments = {"output_dir": str(tmp_path), "max_steps": 1}
    assert "rows have up to 96" in trainer(path, tokenizer, stream, **arguments).layout_caution
    assert trainer(path, tokenizer, stream, max_length=64, **arguments).layout_caution is None


def test_a_pair_without_a_prompt_changes_nothing_for_the_others(saved, tokenizer, preference_rows, tmp_path):
    bare = {"prompt": "", "chosen": "yes", "rejected": "no"}
    done = trainer(saved("llama"), tokenizer, Dataset.from_list([*preference_rows, bare]), output_dir=str(tmp_path))
    assert done.layout_caution is None
