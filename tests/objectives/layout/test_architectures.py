"""Every family of tests/architectures.py: what is fast is what plain transformers gives, the rest says why not."""

import pytest
import torch

from gatebench.objectives.causal_lm import backbone_of
from gatebench.objectives.layout import proof, scoring, shared_prompt, trl_output
from gatebench.objectives.layout.head import ScaledHead
from tests import architectures
from tests.architectures import CASES, PROMPTS, RESPONSES

NATS_A_TOKEN = 1e-4
DEPENDS = [name for name, case in CASES.items() if "depends on what else" in case.scoring or "beyond" in name]


@pytest.mark.parametrize("name", CASES)
def test_scoring(name):
    model = architectures.make(name)
    caution, found = architectures.scored(model)
    assert_said(caution, CASES[name].scoring, "scoring", "every response is computed with its prompt")
    if name not in DEPENDS:  # with those a padded batch differs from single rows already
        torch.testing.assert_close(found, architectures.plain(model), atol=NATS_A_TOKEN, rtol=0)


@pytest.mark.parametrize("layout", ["one_row", "packed"])
@pytest.mark.parametrize("name", CASES)
def test_one_row_a_pair_or_several(name, layout):
    model = architectures.make(name)
    caution, found = architectures.in_rows(model, layout)
    assert_said(caution, CASES[name].rows, f"layout {layout}", "two rows a pair are used")
    if caution is None:
        log_probs, gradients = architectures.differences(model, found, architectures.plain(model))
        assert log_probs <= NATS_A_TOKEN
        assert gradients <= 1e-4


@pytest.mark.parametrize("name", CASES)
def test_the_warm_ups_batches(name):
    model = architectures.make(name)
    caution, found = architectures.packed_texts(model)
    if caution is not None:
        assert caution.startswith("packing: ")
        assert caution.endswith("; rows are padded instead")
    if name not in DEPENDS:
        expected = architectures.packed_texts(model, learned=False)[1]
        log_probs, gradients = architectures.differences(model, found, expected)
        assert log_probs <= NATS_A_TOKEN
        assert gradients <= 1e-4


def assert_said(caution, expected, beginning, end):
    if not expected:
        assert caution is None
    else:
        assert caution.startswith(f"{beginning}: ")
        assert expected in caution
        assert caution.endswith(f"; {end}")


def test_the_proof_finds_what_no_configuration_says(monkeypatch):
    """A factor of the head that is known to nobody."""
    model = architectures.make("cohere")
    for module in (scoring, shared_prompt):
        monkeypatch.setattr(module, "head_of", lambda model: ScaledHead(model.get_output_embeddings()))
    assert "CohereForCausalLM differs from plain transformers by" in architectures.in_rows(model, "one_row")[0]
    caution, found = architectures.scored(model)
    assert "CohereForCausalLM differs from plain transformers by" in caution
    torch.testing.assert_close(found, architectures.plain(model), atol=NATS_A_TOKEN, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.scoring + case.rows])
def test_rounding_is_no_difference(name, dtype):
    model = architectures.make(name).to(dtype)
    with torch.no_grad():
        assert architectures.scored(model)[0] is None
        assert architectures.in_rows(model, "packed")[0] is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if architectures.WINDOW in case.rows])
def test_a_window_that_is_left_out_is_a_difference_in_any_precision(name, dtype, monkeypatch):
    monkeypatch.setattr(proof, "refusal", lambda *_: None)
    model = architectures.make(name).to(dtype)
    assert "differs from plain" in architectures.scored(model)[0]
    assert "differs from plain" in architectures.in_rows(model, "one_row")[0]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "looks back" in case.scoring + case.rows])
def test_what_a_configuration_speaks_against_differs_indeed(name, monkeypatch):
    """Else it would be refused for nothing."""
    monkeypatch.setattr(proof, "refusal", lambda *_: None)
    assert "differs from plain" in architectures.scored(architectures.make(name))[0]


def test_the_proof_leaves_no_trace():
    model = architectures.make("gpt2")  # which has dropout
    model.train()
    state = torch.random.get_rng_state()
    pairs = [(prompt, *own) for prompt, own in zip(PROMPTS, RESPONSES, strict=True)]
    assert trl_output.layout_caution(model, pairs, "packed") is None
    assert scoring.reader_of(model, PROMPTS, RESPONSES).caution is None
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_full_memory_is_no_proof(monkeypatch):
    """It is left to those who try again with less; a path must not depend on what else fills the memory."""
    model = architectures.make("llama")

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backbone_of(model), "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        architectures.in_rows(model, "one_row")


def test_numbers_that_are_none_are_not_trusted():
    model = architectures.make("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[5] = float("nan")
    assert "differs from plain transformers by nan nats" in architectures.in_rows(model, "one_row")[0]


def test_the_pairs_that_tell():
    widest, longest, narrow, other = (10, 8, 8), (2, 20, 1), (1, 2, 3), (9, 4, 4)
    assert trl_output.telling([other, longest, narrow, widest]) == [3, 1]
    assert trl_output.telling([other, (10, 9, 9), narrow]) == [1, 2]
    assert trl_output.telling([other]) == [0]
    assert trl_output.telling([]) == []


def test_an_empty_prompt_is_refused_by_both_ways_of_reading():
    model = architectures.make("llama")
    for caution in (None, "it differs"):
        with pytest.raises(ValueError, match="a prompt has no tokens"):
            scoring.score(scoring.Reader(model, caution), [[]], [[5, 6]])
