"""Answers by transformers: where they end, what their log-prob counts, and that a model's own habits stay out."""

import copy
import json

import pytest
from transformers import AutoModelForCausalLM, GenerationConfig, set_seed

from gatebench.bench.engines import vllm
from gatebench.bench.engines.sampling import Sampling
from gatebench.bench.engines.transformers import end_tokens, generate
from gatebench.bench.models.ladder import make_config
from tests.helpers import load_model, no_report, response_log_prob

SAMPLING = Sampling(max_tokens=12)
TEXTS = ("Q: 3 + 4?\nA:", "Sort: b a c.\nA: It is", "A longer prompt than the others, so that rows are padded:")


@pytest.fixture
def model(model_paths):
    return load_model(model_paths["llama"])


@pytest.fixture
def prompts(tokenizer):
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def ask(model, tokenizer, prompts, sampling=SAMPLING):
    return generate(model, tokenizer, prompts, sampling, no_report)


def with_end(model, tokenizer, prompts):
    """The model, of which a token that its first answer draws, not at first, is one more end; that token's place."""
    drawn = ask(model, tokenizer, prompts)[0].tokens
    at = next(place for place in range(2, len(drawn)) if drawn[place] not in drawn[:place])
    model.generation_config = GenerationConfig(eos_token_id=[tokenizer.eos_token_id, drawn[at]])
    return drawn[at], at


def test_an_answer_ends_at_any_end_token_of_the_models_own_list(model, tokenizer, prompts):
    whole = ask(model, tokenizer, prompts)[0]
    end, at = with_end(model, tokenizer, prompts)
    found = ask(model, tokenizer, prompts)[0]
    assert found.tokens == whole.tokens[:at]
    assert found.finish_reason == "stop"
    assert found.text == tokenizer.decode(list(found.tokens), skip_special_tokens=True)
    wanted = response_log_prob(model, prompts[0], [*found.tokens, end])
    assert found.log_prob == pytest.approx(wanted, abs=1e-3)


def padded_with(tokenizer, token):
    found = copy.deepcopy(tokenizer)
    found.pad_token = token
    return found


@pytest.mark.parametrize("padding", ["an end", "an ordinary token"])
def test_no_padding_counts_whatever_token_it_is(model, tokenizer, prompts, padding):
    end, _ = with_end(model, tokenizer, prompts)
    tokenizer = padded_with(tokenizer, tokenizer.convert_ids_to_tokens(end if padding == "an end" else 70))
    for found, prompt in zip(ask(model, tokenizer, prompts), prompts, strict=True):
        ended = [end] if found.finish_reason == "stop" else []
        assert found.log_prob == pytest.approx(response_log_prob(model, prompt, [*found.tokens, *ended]), abs=1e-3)


@pytest.mark.parametrize("pad", ["<|pad|>", "<|end|>"])
def test_a_row_that_a_text_stopped_counts_up_to_it(model, tokenizer, prompts, pad):
    tokenizer = padded_with(tokenizer, pad)
    whole = ask(model, tokenizer, prompts)
    first = tokenizer.decode(list(whole[0].tokens[:3]))
    stop = tokenizer.decode([whole[0].tokens[2]])
    found = ask(model, tokenizer, prompts, Sampling(max_tokens=12, stop=(stop,)))[0]
    assert found.tokens == whole[0].tokens[:3]
    assert found.text == first[: first.index(stop)]
    assert found.finish_reason == "stop"
    wanted = response_log_prob(model, prompts[0], list(found.tokens))
    assert found.log_prob == pytest.approx(wanted, abs=1e-3)


def test_a_stop_that_is_a_special_token_is_an_end(model, tokenizer):
    assert end_tokens(model, tokenizer) == (0,)
    assert end_tokens(model, tokenizer, ("<|pad|>", "Human:")) == (0, 1)
    model.config.eos_token_id = [0, 7]
    assert end_tokens(model, tokenizer) == (0, 7)


def test_a_models_own_penalties_and_temperature_shape_no_answer(model, tokenizer, prompts):
    plain = ask(model, tokenizer, prompts)
    sampled = ask(model, tokenizer, prompts, Sampling(1.0, max_tokens=12, seed=3))
    habits = GenerationConfig(
        eos_token_id=0, repetition_penalty=5.0, no_repeat_ngram_size=1, min_new_tokens=12, do_sample=True, top_k=1,
        temperature=0.1, suppress_tokens=[plain[0].tokens[0]],
    )  # fmt: skip
    model.generation_config = habits
    assert ask(model, tokenizer, prompts) == plain
    assert ask(model, tokenizer, prompts, Sampling(1.0, max_tokens=12, seed=3)) == sampled
    assert model.generation_config is habits


def test_an_engine_serves_another_checkpoint_only_with_the_same_tokenizer_and_ends(model_paths, tmp_path):
    def place(name, tokenizer="{}", ends=0):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "_name_or_path": name}))
        (folder / "tokenizer.json").write_text(tokenizer)
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends, "temperature": 0.6}))
        return vllm._architecture(folder, "float32")

    assert place("one") == place("two")
    assert len({place("three"), place("other words", '{"model": 1}'), place("other ends", ends=[0, 1])}) == 3


@pytest.mark.vllm
def test_vllm_ends_where_transformers_ends(tokenizer, prompts, tmp_path):
    set_seed(0)
    model = AutoModelForCausalLM.from_config(make_config("builtin:ladder/llama-1.3m")).eval()
    with_end(model, tokenizer, prompts)
    wanted = ask(model, tokenizer, prompts)
    engine, _ = vllm.serve_model(model, tokenizer, tmp_path, "float32", 128, prompts[:1])
    found = engine.generate(prompts, SAMPLING, end_tokens(model, tokenizer))
    vllm.close()
    assert [(answer.tokens, answer.finish_reason) for answer in found] == [(a.tokens, a.finish_reason) for a in wanted]
    assert [answer.log_prob for answer in found] == pytest.approx([answer.log_prob for answer in wanted], abs=0.05)
