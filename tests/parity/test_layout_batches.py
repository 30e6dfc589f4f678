"""What a collator, an adapter or an option may make of a batch: a layout gives what two rows a pair give, or says that
it steps back."""

import logging

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM
from trl.trainer.dpo_trainer import DataCollatorForPreference

from gatebench.objectives.layout.trl_output import LaidOut, lay_out_batch
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from tests.architectures import save

LAYOUTS = ("one_row", "packed")


@pytest.fixture
def make(model_paths, tokenizer, preference_rows, tmp_path):
    def made(layout, model="llama", rows=None, eval_rows=None, collator=None, peft_config=None, **arguments):
        settings = {
            "per_device_train_batch_size": 4, "learning_rate": 1e-2, "max_steps": 2, "logging_steps": 1, "seed": 1,
            "gradient_checkpointing": False, "bf16": False, "report_to": [], "save_strategy": "no", "use_cpu": True,
            "disable_tqdm": True, "max_length": 64, "layout": layout,
        }  # fmt: skip
        torch.manual_seed(0)
        return GatedDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_paths.get(model, model)),
            args=GatedDPOConfig(str(tmp_path / "out"), **settings | arguments),
            train_dataset=Dataset.from_list(rows or preference_rows), processing_class=tokenizer,
            eval_dataset=Dataset.from_list(eval_rows) if eval_rows else None,
            data_collator=collator(DataCollatorForPreference(tokenizer.pad_token_id, 64)) if collator else None,
            peft_config=peft_config,
        )  # fmt: skip

    return made


def loss_and_gradients(trainer):
    trainer.model.train()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


def assert_as_two_rows(trainer, expected):
    found, expected = loss_and_gradients(trainer), loss_and_gradients(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-6, rtol=1e-4)


class Changed:
    """TRL's collator, and what somebody's own makes of its batch."""

    def __init__(self, change):
        self.change = change

    def __call__(self, collator):
        return lambda examples: self.change(collator(examples))


def with_positions(batch):
    return {**batch, "position_ids": (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0) * 2}


def with_holes(batch):
    places = batch["completion_mask"].cumsum(dim=1)
    return {**batch, "completion_mask": batch["completion_mask"] * (places != 2).long()}


def without_the_last(batch):
    last = batch["attention_mask"].sum(dim=1) - 1
    return {**batch, "completion_mask": batch["completion_mask"].scatter(1, last[:, None], 0)}


def padded_left(batch):
    gaps = batch["input_ids"].shape[1] - batch["attention_mask"].sum(dim=1)
    return {
        name: torch.stack([row.roll(int(gap)) for row, gap in zip(value, gaps, strict=True)])
        for name, value in batch.items()
    }


FROM_ITS_BEGINNING = "the rows of a batch are not filled from their beginning to where their padding starts"
COLLATORS = {
    "position_ids": (with_positions, "a batch has position_ids, which the layout knows nothing of"),
    "holes": (with_holes, None),
    "an unscored last token": (without_the_last, None),
    "padding on the left": (padded_left, FROM_ITS_BEGINNING),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", COLLATORS)
def test_a_collator_of_ones_own(make, caplog, layout, name):
    change, sentence = COLLATORS[name]
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        trainer = make(layout, "neox", collator=Changed(change))
        assert_as_two_rows(trainer, make("trl", "neox", collator=Changed(change)))
    said = [record.getMessage() for record in caplog.records if "two rows a pair" in record.getMessage()]
    expected = f"layout {layout}: {sentence}; two rows a pair are used for such batches"
    assert said == ([expected] if sentence else [])


def test_any_further_input_of_a_model(make):
    trainer = make("one_row")
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    assert isinstance(lay_out_batch(trainer.model, batch, "one_row"), LaidOut)
    more = {**batch, "token_type_ids": torch.zeros_like(batch["input_ids"])}
    expected = "a batch has token_type_ids, which the layout knows nothing of"
    assert lay_out_batch(trainer.model, more, "one_row") == expected


ADAPTERS = {
    "prompt tuning": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix tuning": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "p-tuning": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_virtual_tokens(make, preference_rows, name):
    ours, theirs = (
        make(layout, peft_config=ADAPTERS[name], eval_rows=preference_rows[:4]) for layout in ("one_row", "trl")
    )
    assert "LlamaForCausalLM has virtual tokens before its rows, which an adapter learns" in ours.layout_caution
    first, second = ours.evaluate(), theirs.evaluate()
    assert first["eval_logps/chosen"] == second["eval_logps/chosen"]
    assert_as_two_rows(ours, theirs)


def test_a_low_rank_adapter_is_computed_in_the_layout(make):
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    ours, theirs = (make(layout, peft_config=adapter) for layout in ("packed", "trl"))
    for trainer in (ours, theirs):
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:  # which begin as zeros
                parameter.data.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) / 10)
    assert ours.layout_caution is None
    assert_as_two_rows(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"use_weighting": True}, "is weighted by all words' probabilities (use_weighting), which the layout does not"),
        ({"torch_compile": True}, "is compiled, anew for every shape of a row"),
    ],
    ids=["WPO", "compiled"],
)
def test_an_option_that_a_layout_cannot_serve(make, arguments, sentence):
    trainer = make("one_row", **arguments)
    assert sentence in trainer.layout_caution
    if "use_weighting" in arguments:
        assert_as_two_rows(trainer, make("trl", **arguments))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "arguments",
    [{"pad_to_multiple_of": 16}, {"max_length": 20}, {"max_length": 24, "truncation_mode": "keep_end"},
     {"ld_alpha": 0.3}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}],
    ids=str,
)  # fmt: skip
def test_options_that_need_nothing_else(make, layout, arguments):
    assert_as_two_rows(make(layout, **arguments), make("trl", **arguments))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_without_a_prompt(make, preference_rows, layout):
    rows = [{**row, "prompt": ""} for row in preference_rows[:4]]
    assert_as_two_rows(make(layout, "llama", rows=rows), make("trl", "llama", rows=rows))


def test_data_that_come_later_and_are_longer_than_a_window(make, tokenizer, preference_rows, tmp_path, caplog):
    path = str(save("gemma3_text", tokenizer, tmp_path / "model"))  # looks back 64 tokens
    long = Dataset.from_list([{"prompt": "a word " * 40, "chosen": " yes", "rejected": " no"}] * 4)
    ours, theirs = (make(layout, path, max_length=96) for layout in ("one_row", "trl"))
    assert ours.layout_caution is None
    with caplog.at_level(logging.WARNING, logger="gatebench"):
        found, expected = ours.evaluate(long), theirs.evaluate(long)
    assert found["eval_logps/chosen"] == expected["eval_logps/chosen"]
    assert "layout one_row: Gemma3ForCausalLM looks back 64 tokens where rows have up to" in caplog.text


def test_answers_are_generated_and_models_saved_as_before(make, tmp_path):
    trainer, plain = make("one_row"), make("trl")
    ids = torch.tensor([[5, 6, 7]])
    answers = [own.model.generate(ids, max_new_tokens=4, do_sample=False) for own in (trainer, plain)]
    assert torch.equal(*answers)
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    for one, other in zip(again.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["ipo", "sigmoid_norm", "sft", "sigmoid"])
def test_tokens_are_counted_as_trl_does_where_there_is_no_prompt(make, preference_rows, name):
    rows = [{**row, "prompt": "" if place % 2 else row["prompt"]} for place, row in enumerate(preference_rows)]
    found, expected = (make("trl", "llama", rows=rows, **own) for own in ({"loss": f"trl:{name}"}, {"loss_type": name}))
    for trainer in (found, expected):
        with torch.no_grad():  # else both sides are at the reference, where nothing is divided
            for parameter in trainer.model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    assert_as_two_rows(found, expected)
