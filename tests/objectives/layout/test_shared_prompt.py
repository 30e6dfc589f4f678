"""One row a prompt gives the log-probs of one row a response."""

import pytest
import torch
from transformers.integrations import flex_attention

from gatebench.objectives.layout import shared_prompt, trl_output
from gatebench.objectives.layout.attention import FLEX, dense_mask
from tests.conftest import FAMILIES
from tests.helpers import load_model, response_log_prob

PROMPTS = [[5, 6, 7, 8], [9, 10], [11]]
RESPONSES = [[[20, 21, 22], [23], [24, 25, 26, 27]], [[30], [31, 32], []], [[40, 41], [42], [43, 44]]]


def check(model, a_row):
    """The log-probs of PROMPTS and RESPONSES are those of separate rows."""
    rows = shared_prompt.lay_out(PROMPTS, RESPONSES, a_row, shared_prompt.multiple_of(model))
    with torch.no_grad():
        logits = shared_prompt.response_logits(model, rows)
        found = torch.zeros(9).index_add(0, rows.response, shared_prompt.target_log_probs(logits, rows.targets))
        texts = [(prompt, tokens) for prompt, own in zip(PROMPTS, RESPONSES, strict=True) for tokens in own]
        expected = [response_log_prob(model, *text) for text in texts]
    torch.testing.assert_close(found, torch.tensor(expected), atol=6e-5, rtol=0)


@pytest.mark.parametrize("a_row", [None, [3], [1, 2]], ids=["one a row", "all in one", "one and two"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_are_those_of_separate_rows(model_paths, family, attention, a_row):
    check(load_model(model_paths[family], attn_implementation=attention), a_row)


def without_compiling(query, key, value, training=False, **keywords):
    return torch.nn.attention.flex_attention.flex_attention(query, key, value, **keywords)


@pytest.mark.parametrize("family", FAMILIES)
def test_flex_attention_sees_what_the_others_see(model_paths, family, monkeypatch):
    """Forward only, as it has no backward pass on a processor, and not compiled, which takes a minute."""
    monkeypatch.setattr(flex_attention, "compile_friendly_flex_attention", without_compiling)
    model = load_model(model_paths[family], attn_implementation=FLEX)
    check(model, [1, 2])
    pairs = [(prompt, *own[:2]) for prompt, own in zip(PROMPTS, RESPONSES, strict=True)]
    assert trl_output.layout_caution(model, pairs, "packed") is None


def test_layout_by_hand():
    rows = shared_prompt.lay_out([[1, 2, 3]], [[[4, 5], [6]]])
    assert rows.input_ids.tolist() == [[1, 2, 3, 4, 3]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert rows.groups.tolist() == [[0, 0, 0, 0, 0]]
    assert rows.segments.tolist() == [[0, 0, 1, 1, 2]]
    assert rows.places.tolist() == [2, 3, 4]
    assert rows.targets.tolist() == [4, 5, 6]
    assert rows.response.tolist() == [0, 0, 1]
    assert rows.offset.tolist() == [0, 1, 0]
    assert seen(rows) == [[[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]]


def test_packed_layout_by_hand():
    rows = shared_prompt.lay_out([[1, 2], [3, 4], [5]], [[[6], [7]], [[8, 9], []], [[10], []]], a_row=[2, 1])
    assert rows.input_ids.tolist() == [[1, 2, 2, 3, 4, 8], [5, 0, 0, 0, 0, 0]]
    assert rows.position_ids.tolist() == [[0, 1, 1, 0, 1, 2], [0, 0, 0, 0, 0, 0]]
    assert rows.groups.tolist() == [[0, 0, 0, 1, 1, 1], [2, -1, -1, -1, -1, -1]]
    assert rows.segments.tolist() == [[0, 1, 2, 0, 1, 1], [1, -1, -1, -1, -1, -1]]
    assert rows.places.tolist() == [1, 2, 4, 5, 6]
    assert rows.targets.tolist() == [6, 7, 8, 9, 10]
    assert rows.response.tolist() == [0, 1, 2, 2, 4]
    first, _ = seen(rows)
    assert first == [
        [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1],
    ]  # fmt: skip


def seen(rows):
    """Which position looks at which, by row."""
    return (dense_mask(rows.groups, rows.segments, torch.float32)[:, 0] == 0).int().tolist()


def test_texts_share_a_row_as_long_as_the_longest():
    assert shared_prompt.pack([20, 3, 11, 7]) == [[0], [2, 3], [1]]
    assert shared_prompt.pack([5, 5, 5]) == [[0], [1], [2]]


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt 0 of the batch has no tokens"):
        shared_prompt.lay_out([[]], [[[1]]])


def test_micro_batches_hold_rows_of_like_length_and_no_more_than_asked():
    assert shared_prompt.micro_batches([10, 90, 20, 100, 15], 100) == [[0, 4, 2], [1], [3]]
    assert shared_prompt.micro_batches([500], 100) == [[0]]
    assert shared_prompt.micro_batches([], 100) == []
