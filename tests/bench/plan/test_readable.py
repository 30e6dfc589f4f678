"""What is refused or said before the first stage: rows that a model cannot read, options that would have no effect."""

import json

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.plan.readable import check_rows, transcript_cautions
from gatebench.bench.plan.resolve import check_data
from gatebench.bench.run.prepare import prepare
from tests.helpers import DPO, bench, write
from tests.tokenizers import family

TOOLBOX = "{name: toolbox, path: builtin:toolbox, train: 24, test: 8}"
TURN = {"role": "user", "content": "Hi"}


def prepared(folder, rows, model="builtin:ladder/neox-0.3m", more=""):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = DPO.replace(TOOLBOX, f"{{path: rows.jsonl, train: 8, test: 2{more}}}")
    suite = write(folder, text.replace("builtin:ladder/neox-0.3m", str(model)))
    return prepare(suite, None, folder / "results", None, None)


def check(found):
    check_data(found.sources)
    check_rows(found.plan, found.sources)


def own_model(folder, name):
    """A folder with a tiny model and the tokenizer of a family."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = family(name)
    config = LlamaConfig(
        vocab_size=600, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_prompts_that_fill_max_length_count_as_bad_rows(tmp_path):
    rows = [{"prompt": f"Q{i} " + "word " * 90 * (i % 2), "chosen": " a", "rejected": " b"} for i in range(10)]
    with pytest.raises(UserError) as caught:
        check(prepared(tmp_path, rows))
    assert str(caught.value) == (
        f"model neox-0.3m, data set rows: {tmp_path}/rows.jsonl:2: the prompt fills max_length 64; 4 of 8 training "
        "rows cannot be used, more than the 5% allowed. Mend them, or raise train.max_length or the data "
        "set's max_dropped"
    )
    check(prepared(tmp_path, rows, more=", max_dropped: 0.6"))


def test_a_systems_turn_that_a_template_refuses_is_an_error_naming_model_and_data(tmp_path):
    rows = [{"prompt": [TURN], "chosen": f"Yes {i}", "rejected": "No"} for i in range(10)]
    rows[3]["prompt"] = [{"role": "system", "content": "Be kind."}, TURN]
    found = prepared(tmp_path, rows, own_model(tmp_path / "gemma", "gemma"), ", max_dropped: 0.9")
    with pytest.raises(UserError) as caught:
        check(found)
    assert f"model gemma, data set rows: {tmp_path}/rows.jsonl:4: the model's chat template refuses it" in str(
        caught.value
    )
    assert "(System role not supported); 1 rows begin with a system's turn" in str(caught.value)
    planned = bench("plan", tmp_path / "suite.yaml")
    assert planned.returncode == 2
    assert "begin with a system's turn" in planned.stderr
    check(prepared(tmp_path, rows, own_model(tmp_path / "chatml", "chatml")))


def test_what_a_template_says_of_a_refusal_is_no_command_to_the_terminal(tmp_path):
    model = own_model(tmp_path / "gemma", "gemma")
    (model / "chat_template.jinja").write_text("{{ raise_exception('\x1b[2JSystem role not supported') }}")
    rows = [{"prompt": [TURN], "chosen": f"Yes {i}", "rejected": "No"} for i in range(10)]
    rows[3]["prompt"] = [{"role": "system", "content": "Be kind."}, TURN]
    prepared(tmp_path, rows, model)
    planned = bench("plan", tmp_path / "suite.yaml")
    assert planned.returncode == 2
    assert "refuses it (␛[2JSystem role not supported)" in planned.stderr
    assert "\x1b" not in planned.stderr


def test_tool_calls_for_a_template_that_knows_none_are_refused(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "w"}}]}
    rows = [{"prompt": [TURN], "chosen": [call], "rejected": [{**TURN, "role": "assistant"}]} for _ in range(10)]
    with pytest.raises(UserError, match="it does not render tool calls"):
        check(prepared(tmp_path, rows))


def test_a_dialogue_as_text_before_a_chat_model_is_said(tmp_path):
    rows = [{"prompt": f"\n\nHuman: Q{i}\n\nAssistant:", "chosen": " a", "rejected": " b"} for i in range(10)]
    model = own_model(tmp_path / "chatml", "chatml")
    (sentence,) = transcript_cautions(prepared(tmp_path, rows, model).sources)
    assert sentence.startswith("data set rows holds dialogues of Human: and Assistant: as plain text, and chatml has a")
    assert not transcript_cautions(prepared(tmp_path, rows, model, ", transcripts: messages").sources)
    assert not transcript_cautions(prepared(tmp_path, rows).sources)
    plain = [{**row, "prompt": "Q"} for row in rows]
    assert not transcript_cautions(prepared(tmp_path, plain, model).sources)


@pytest.mark.parametrize(
    ("dataset", "key"),
    [
        ("{path: rows.jsonl, train: 8, test: 2, subset: x}", "subset: a single file has neither splits nor revisions"),
        ("{path: rows.jsonl, train: 8, train_split: x}", "train_split: a single file has neither"),
        ("{path: rows.jsonl, train: 8, revision: x}", "revision: a single file has neither"),
        ("{path: ./hub, train: 8, revision: x}", "revision: a local folder has no revisions"),
        ("{path: builtin:toolbox, subset: x}", "subset: the built-in data set makes its own rows"),
        ("{path: builtin:toolbox, test_path: rows.jsonl}", "test_path: the built-in data set makes its own rows"),
        ("{path: builtin:toolbox, columns: {prompt: q}}", "columns: the built-in data set makes its own rows"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(tmp_path, dataset, key):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n' * 12)
    (tmp_path / "hub").mkdir()
    suite = write(tmp_path, DPO.replace(TOOLBOX, dataset))
    with pytest.raises(UserError) as caught:
        prepare(suite, None, tmp_path / "results", None, None)
    assert f"datasets.0.{key}" in str(caught.value)
    assert "so this would have no effect; leave it out" in str(caught.value)
