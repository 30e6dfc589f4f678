"""Which tokens the callback that only measures reads of a row: those that TRL trains on."""

import json
from statistics import fmean

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from trl import DPOConfig, DPOTrainer

from gatebench import SqueezingCallback
from tests.parity.processes import SETTINGS
from tests.parity.test_squeezing import by_hand


def text(prompt, response):
    return prompt + response


def messages(prompt, response):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def asked(row):
    return {
        "prompt": messages(row["prompt"], "")[:1],
        **{side: messages("", row[side])[1:] for side in ("chosen", "rejected")},
    }


def without_prompt(row, written):
    return {side: written(row["prompt"], row[side]) for side in ("chosen", "rejected")}


FORMS = {
    "text": lambda row: row,
    "text without a prompt": lambda row: without_prompt(row, text),
    "messages": asked,
    "messages without a prompt": lambda row: without_prompt(row, messages),
    "template's options": lambda row: asked(row) | {"chat_template_kwargs": {"style": "brief"}},
    "tools": lambda row: asked(row) | {"tools": json.dumps([{"name": "search"}])},
}


@pytest.mark.parametrize("cut", ["keep_start", "keep_end"])
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_read_and_cut_as_trl_does(model_paths, tokenizer, preference_rows, tmp_path, form, cut):
    """The log-probs are those that TRL logs of the same rows, given as probes or taken from the training data."""
    tokenizer = type(tokenizer).from_pretrained(model_paths["llama"])
    tokenizer.chat_template = (
        "{{ style }}{% for tool in tools or [] %}{{ tool['name'] }}{% endfor %}"
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    rows = [FORMS[form](row) for row in preference_rows[:4]]
    found = []
    for probes in (rows, None):
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths["llama"]), processing_class=tokenizer,
            args=DPOConfig(
                str(tmp_path / "out"), per_device_train_batch_size=4, truncation_mode=cut,
                **SETTINGS | {"learning_rate": 0.0, "max_steps": 1, "max_length": 64 if cut == "keep_start" else 12},
            ),
            train_dataset=Dataset.from_list(rows), callbacks=[SqueezingCallback(probes, every=1)],
        )  # fmt: skip
        trainer.train()
        found.append(trainer.state.log_history[0])
    for first in found:
        assert first["squeezing/chosen"] == pytest.approx(first["logps/chosen"], abs=1e-3)
        assert first["squeezing/rejected"] == pytest.approx(first["logps/rejected"], abs=1e-3)


@pytest.fixture
def plain(tokenizer, preference_rows, tmp_path):
    """A trainer of transformers alone, of a model that ends at 48 positions."""
    torch.manual_seed(0)
    ids = torch.randint(5, 200, (8, 16)).tolist()
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 48}

    def made(callback, processing_class=tokenizer):
        return Trainer(
            model=GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size)), callbacks=[callback],
            args=TrainingArguments(
                str(tmp_path / "out"), use_cpu=True, report_to=[], max_steps=2, logging_steps=1, learning_rate=1e-2,
                save_strategy="no", disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}), processing_class=processing_class,
        )  # fmt: skip

    return made


def test_any_trainer_of_transformers_is_measured(plain, tokenizer, preference_rows):
    """Which cuts nothing: a response ends where the model's positions do."""
    long = preference_rows[0] | {"chosen": "a long answer " * 40}
    rows = [long, *preference_rows[1:4]]
    trainer = plain(SqueezingCallback(rows, every=1))
    trainer.train()
    own = fmean(by_hand(trainer.model, tokenizer, row["prompt"], row["chosen"], 48)[0] for row in rows)
    assert trainer.state.log_history[-1]["squeezing/chosen"] == pytest.approx(own, abs=1e-3)


def test_what_a_trainer_lacks_to_read_probes_is_said(plain, model_paths, tokenizer, preference_rows):
    rows = preference_rows[:4]
    with pytest.raises(ValueError, match=r"the trainer has no tokenizer to read the probes with; give it one \(proc"):
        plain(SqueezingCallback(rows), processing_class=None).train()
    ids = {"prompt_ids": [7, 8], "chosen_ids": [9, 10], "rejected_ids": [11]}
    trainer = plain(SqueezingCallback([ids], every=1), processing_class=None)
    trainer.train()
    assert "squeezing/chosen" in trainer.state.log_history[0]
    endless = type(tokenizer).from_pretrained(model_paths["llama"])
    endless.eos_token = None
    with pytest.raises(ValueError, match="tokenizer has no end token, which ends the response of a probe; set tokeni"):
        plain(SqueezingCallback(rows), processing_class=endless).train()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "the probes have no row"),
        (
            [{"question": "a", "chosen": "b"}],
            "probe 0 has no rejected; a probe has prompt, chosen and rejected",
        ),
        (
            [{"prompt_ids": [7], "chosen_ids": [8], "rejected_ids": []}],
            "probe 0 has no token of its rejected response; l",
        ),
        ([{"prompt": "a " * 80, "chosen": "b", "rejected": "c"}], "probe 0 has no token of its chosen response within"),
    ],
)
def test_probes_that_are_none_are_refused_in_a_sentence(plain, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        plain(SqueezingCallback(rows)).train()
