"""Packed rows train a model exactly as padded ones do."""

import pytest
import torch

from gatebench.bench.stages.training.packing import IGNORED, Row, collator, packed, padded
from gatebench.bench.stages.training.supervised import fit
from tests import architectures
from tests.helpers import load_model, no_report

ROWS = [Row(list(range(10, 30)), 5), Row([40, 41, 42]), Row(list(range(50, 61)), 4), Row(list(range(70, 77)), 2)]


def test_layout_by_hand():
    found = packed([[Row([1, 2, 3], 2), Row([4, 5])], [Row([6, 7, 8, 9])]], torch.float32)
    assert found["input_ids"].tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    ignored = IGNORED
    assert found["labels"].tolist() == [[ignored, ignored, 3, ignored, 5], [ignored, 7, 8, 9, ignored]]
    looks = found["attention_mask"][0, 0] == 0
    assert looks.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("family", ["neox", "llama", "qwen"])
def test_loss_and_gradient_are_those_of_padded_rows(model_paths, family):
    found = []
    for way in ("padded", "packed"):
        model = load_model(model_paths[family])
        batch = padded(ROWS) if way == "padded" else collator(model, ROWS)[0](ROWS)
        assert len(batch["input_ids"]) == (4 if way == "padded" else 3)
        loss = model(**batch).loss
        loss.backward()
        found.append((loss, [p.grad for p in model.parameters()]))
    (one, ours), (other, theirs) = found
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", ["neox", "llama", "qwen"])
def test_packed_rows_are_blind_to_each_other_when_float32_weights_compute_in_bfloat16(model_paths, family):
    found = []
    for way in ("padded", "packed"):
        model = load_model(model_paths[family])
        batch = padded(ROWS) if way == "padded" else collator(model, ROWS)[0](ROWS)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        found.append((loss, torch.cat([p.grad.flatten() for p in model.parameters()])))
    (one, ours), (other, theirs) = found
    torch.testing.assert_close(one, other, atol=0, rtol=1e-3)
    assert ours.dtype == torch.float32
    assert torch.linalg.vector_norm(ours - theirs) < 0.05 * torch.linalg.vector_norm(theirs)


def test_rows_of_one_length_are_not_packed(model_paths):
    rows = [Row([1, 2, 3]), Row([4, 5, 6]), Row([7, 8, 9])]
    assert collator(load_model(model_paths["neox"]), rows) == (padded, None)


def test_a_model_that_tells_no_rows_apart_is_not_packed_and_says_why(model_paths):
    model = load_model(model_paths["neox"])
    model.config.sliding_window = 19
    collate, caution = collator(model, ROWS)
    assert collate is padded
    assert caution == (
        "packing: GPTNeoXForCausalLM looks back 19 tokens where rows have up to 20; rows are padded instead"
    )


@pytest.mark.parametrize(("name", "said"), [("mistral", []), ("mistral, window", ["packing: MistralForCausalLM"])])
def test_a_training_says_what_it_did_not_pack(name, said, tmp_path):
    fitted = fit(
        lambda: architectures.make(name), ROWS, learning_rate=1e-3, batch_size=4, steps=1, seed=0, report=no_report,
        out=tmp_path,
    )  # fmt: skip
    assert [caution[:27] for caution in fitted.cautions] == said
