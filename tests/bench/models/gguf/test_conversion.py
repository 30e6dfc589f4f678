"""A GGUF file becomes the very model that it was written from: weights, tokenizer, and all that later stages read."""

import json
from functools import partial

import pytest
import torch

from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.models.gguf import conversion
from gatebench.bench.models.gguf.conversion import convert
from gatebench.bench.models.gguf.source import gguf_source, gguf_tokenizer
from gatebench.bench.models.loading import load_policy, load_tokenizer
from tests.gguf_files import KINDS, given, pieces, words, write
from tests.helpers import no_report
from tests.tokenizers import LINES

BYTE_LEVEL = ("gpt-2", "smollm", "qwen2", "llama-bpe")
TEXTS = [*dict.fromkeys(LINES), "  In 1234 and\n\n 1990,\tnot 5678. I'M é e\u0301 中 <|im_start|>user", " a", ""]
MAKERS = {"llama": words, "qwen2": words, "qwen3": words, "gemma3": lambda: pieces(before=False)}
PRE = {"qwen2": "qwen2", "qwen3": "qwen2"}


def converted(file, out):
    """The folder of a stage with the model of a file."""
    source, wrong = gguf_source(str(file), [])
    assert wrong == ()
    out.mkdir()
    convert(source, out / "model", no_report)
    assert sorted(entry.name for entry in out.iterdir()) == ["model"]
    return out


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("architecture", KINDS)
def test_logits_are_those_of_the_model_that_the_file_was_written_from(architecture, tied, tmp_path):
    what = given(architecture, MAKERS[architecture](), PRE.get(architecture, "gpt-2"), tied)
    stage = converted(write(what, tmp_path / "tiny.gguf"), tmp_path / "stage")
    model, ids = load_policy(stage, "float32"), list(range(3, 60))
    torch.testing.assert_close(logits(model, ids), logits(what.model, ids), atol=1e-5, rtol=0)
    assert "quantization_config" not in json.loads((stage / "model/config.json").read_text())
    own, theirs = model.config, what.model.config
    assert (own.eos_token_id, own.pad_token_id) == (what.tokenizer.eos_token_id, what.tokenizer.pad_token_id)
    assert model.generation_config.eos_token_id == what.tokenizer.eos_token_id
    assert own.max_position_embeddings == theirs.max_position_embeddings
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in (stage / "model").iterdir())


@pytest.mark.parametrize(("weights", "most"), [("F16", 2**-11), ("Q8_0", 1 / 254)])
def test_weights_of_fewer_bits_are_those_of_the_file(weights, most, tmp_path):
    what = given("llama", words())
    stage = converted(write(what, tmp_path / "tiny.gguf", weights), tmp_path / "stage")
    for name, found in load_policy(stage, "float32").state_dict().items():
        expected = what.model.state_dict()[name]
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() <= most * expected.abs().max() * 1.01, name


@pytest.mark.parametrize("kind", [*BYTE_LEVEL, "words, bos", "pieces", "pieces, space"])
def test_text_is_split_as_the_models_own_tokenizer_splits_it(kind, tmp_path):
    own = {
        **{split: partial(words, split) for split in BYTE_LEVEL}, "words, bos": lambda: words(bos="<|begin|>"),
        "pieces": lambda: pieces(before=False), "pieces, space": lambda: pieces(before=True),
    }[kind]()  # fmt: skip
    what = given("gemma3" if kind == "pieces" else "llama", own, kind if kind in BYTE_LEVEL else "gpt-2")
    file = write(what, tmp_path / "tiny.gguf")
    planned = gguf_tokenizer(gguf_source(str(file), [])[0])
    found = load_tokenizer(converted(file, tmp_path / "stage"))
    unknown = own.convert_tokens_to_ids("<unk>")  # None where every byte has a token
    known = [text for text in TEXTS if unknown is None or unknown not in own(text)["input_ids"]]
    assert len(known) > 5
    for text in (*known, *(f"  {text}" for text in known)):
        assert found(text)["input_ids"] == planned(text)["input_ids"] == own(text)["input_ids"], text
        assert found.decode(found(text)["input_ids"]) == own.decode(own(text)["input_ids"])
    assert (found.bos_token, found.eos_token, found.pad_token) == (own.bos_token, own.eos_token, own.pad_token)
    assert found.chat_template == own.chat_template


def test_the_splits_and_the_first_token_make_a_difference_in_these_tests():
    text = "In 1234, I'M ne\u0301."
    assert len({tuple(words(split)(text)["input_ids"]) for split in BYTE_LEVEL}) == len(BYTE_LEVEL)
    assert words(bos="<|begin|>")("a")["input_ids"][0] == words(bos="<|begin|>").bos_token_id


@pytest.mark.parametrize("says", [True, False, None])
@pytest.mark.parametrize("kind", ["words", "pieces", "llama-bpe"])
def test_a_text_begins_with_bos_where_the_file_says_so_or_else_as_llama_cpp_has_it(kind, says, tmp_path):
    own = pieces(before=False) if kind == "pieces" else words(bos="<|begin|>")
    what = given("gemma3" if kind == "pieces" else "llama", own, "llama-bpe" if kind == "llama-bpe" else "gpt-2")
    what.keys["tokenizer.ggml.add_bos_token"] = says
    found = gguf_tokenizer(gguf_source(str(write(what, tmp_path / "tiny.gguf")), [])[0])
    expected = says if says is not None else kind != "words"
    assert (found("a b")["input_ids"][0] == own.bos_token_id) == expected


def test_a_file_that_changed_after_planning_is_refused(tmp_path):
    what = given("llama", words())
    source, _ = gguf_source(str(write(what, tmp_path / "tiny.gguf")), [])
    what.tensors["output_norm.weight"] = what.tensors["output_norm.weight"] + 1
    write(what, tmp_path / "tiny.gguf")
    (tmp_path / "stage").mkdir()
    with pytest.raises(UserError, match="was changed or moved after the suite was planned"):
        convert(source, tmp_path / "stage/model", no_report)
    (tmp_path / "tiny.gguf").unlink()
    with pytest.raises(UserError, match="was changed or moved after the suite was planned"):
        convert(source, tmp_path / "stage/model", no_report)


def test_weights_that_the_reader_passes_over_are_noticed(tmp_path):
    what = given("llama", words())  # Llama has no biases, so transformers leaves one out without a word
    what.tensors["blk.0.attn_q.bias"] = what.tensors["blk.0.attn_norm.weight"]
    source, wrong = gguf_source(str(write(what, tmp_path / "tiny.gguf")), [])
    assert wrong == ()
    (tmp_path / "stage").mkdir()
    with pytest.raises(StageFailed, match=r"weights, of which transformers reads [\d,]+; it is not converted"):
        convert(source, tmp_path / "stage/model", no_report)


def test_a_model_that_does_not_know_english_is_refused_where_it_is_large_enough_to(tmp_path, monkeypatch):
    source, _ = gguf_source(str(write(given("llama", words()), tmp_path / "tiny.gguf")), [])
    (tmp_path / "stage").mkdir()
    found = convert(source, tmp_path / "stage/model", no_report)
    assert f"({found.loss:.2f} nats a token)" in found.caution
    assert found.loss > conversion.HIGHEST_LOSS
    monkeypatch.setattr(conversion, "FEWEST_PARAMETERS", found.parameters)
    (tmp_path / "again").mkdir()
    with pytest.raises(StageFailed, match=f"its loss of an English text is {found.loss:.2f} nats a token"):
        convert(source, tmp_path / "again/model", no_report)
