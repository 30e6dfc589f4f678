"""Scoring with a shared prompt cache gives the log-probs of one ordinary row a response."""

import pytest
import torch

from gatebench.objectives.layout import scoring
from gatebench.objectives.layout.shared_prompt import target_log_probs
from tests.conftest import FAMILIES
from tests.helpers import load_model, response_log_prob

PROMPTS = [[5, 6, 7, 8], [9, 10], [11], [12, 13, 14]]
RESPONSES = [[[20, 21, 22], [23], [24, 25, 26, 27]], [[30], [31, 32], []], [[40, 41]], [[50], [51, 52, 53, 54, 55]]]


def one_by_one(model):
    """Summed log-prob of every non-empty response, each in an ordinary causal row."""
    found = {}
    for i, own in enumerate(RESPONSES):
        for k, tokens in enumerate(own):
            if tokens:
                found[i, k] = response_log_prob(model, PROMPTS[i], tokens)
    return found


def scored(model, report=lambda share: None, caution=None):
    reader = scoring.Reader(model, caution)

    def use(batch):
        sums = batch.sums(target_log_probs(batch.logits, batch.targets))
        return dict(zip(batch.owners, sums.tolist(), strict=True))

    with torch.inference_mode():
        parts = scoring.map_batches(reader, PROMPTS, RESPONSES, use, report)
    keys = [key for part in parts for key in part]
    assert len(keys) == len(set(keys))  # nothing twice
    return {key: value for part in parts for key, value in part.items()}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_are_those_of_separate_rows(model_paths, family, attention):
    model = load_model(model_paths[family], attn_implementation=attention)
    shares = []
    assert scored(model, shares.append) == pytest.approx(one_by_one(model), abs=6e-5)
    assert shares[-1] == 1.0


def test_a_model_that_was_not_proven_gets_plain_rows(model_paths):
    model = load_model(model_paths["neox"])
    assert scored(model, caution="it differs") == pytest.approx(one_by_one(model), abs=6e-5)


def test_small_batches_give_the_same(model_paths, monkeypatch):
    model = load_model(model_paths["llama"])
    monkeypatch.setattr(scoring, "POSITIONS_A_BATCH", 5)
    assert scored(model) == pytest.approx(one_by_one(model), abs=6e-5)


def test_a_large_vocabulary_makes_batches_small(model_paths, monkeypatch):
    model = load_model(model_paths["llama"])
    honest, sizes = scoring._PromptCache.logits, []

    def noted(self, at, responses):
        found = honest(self, at, responses)
        sizes.append(found.numel())
        return found

    monkeypatch.setattr(scoring._PromptCache, "logits", noted)
    monkeypatch.setattr(scoring, "LOGITS_A_BATCH", 6 * model.config.vocab_size)
    assert scored(model) == pytest.approx(one_by_one(model), abs=6e-5)
    assert max(sizes) <= scoring.LOGITS_A_BATCH


def test_out_of_memory_is_met_with_smaller_batches_and_counts_nothing_twice(model_paths, monkeypatch):
    model = load_model(model_paths["llama"])
    honest, sizes = scoring._PromptCache.logits, []

    def tight(self, at, responses):
        sizes.append(sum(map(len, responses)))
        if len(sizes) > 1 and sum(map(len, responses)) > 6:
            raise torch.OutOfMemoryError("no room")
        return honest(self, at, responses)

    monkeypatch.setattr(scoring, "POSITIONS_A_BATCH", 14)
    monkeypatch.setattr(scoring._PromptCache, "logits", tight)
    assert scored(model) == pytest.approx(one_by_one(model), abs=6e-5)
    assert max(sizes[1:]) > 6  # there was something to be met


def test_a_response_that_fits_in_no_way_says_so(model_paths, monkeypatch):
    model = load_model(model_paths["llama"])

    def full(self, at, responses):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(scoring._PromptCache, "logits", full)
    with pytest.raises(torch.OutOfMemoryError):
        scored(model)
