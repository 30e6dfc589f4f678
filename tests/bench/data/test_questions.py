"""Questions and baselines in the formats of AlpacaEval and Arena-Hard, made by hand."""

import json

import pytest

from gatebench.bench.data.pairs import Chat, Message
from gatebench.bench.data.questions import OpenQuestion, asked_like, read_baseline, read_questions
from gatebench.bench.data.toolbox import as_prompt
from gatebench.bench.errors import UserError

ALPACA = [
    {"dataset": "helpful_base", "instruction": "Why?", "output": "So.", "generator": "text_davinci_003"},
    {"dataset": "koala", "instruction": "How?", "output": "", "generator": "text_davinci_003"},
]
ARENA = [{"uid": "0a", "category": "hard_prompt", "subcategory": "coding", "prompt": "Why?"},
         {"uid": "0b", "category": "creative_writing", "subcategory": "", "prompt": "How?"}]  # fmt: skip
ARENA_ANSWERS = [
    {"uid": row["uid"], "ans_id": "x", "model": "o3-mini-2025-01-31",
     "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": {"answer": answer}}],
     "tstamp": 1.0, "metadata": {"token_len": 2}}
    for row, answer in zip(ARENA, ("Because.", "Thus."), strict=True)
]  # fmt: skip


def array(folder, rows):
    (folder / "rows.json").write_text(json.dumps(rows, indent=2))
    return folder / "rows.json"


def lines(folder, rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


def test_alpacaevals_rows_are_questions_and_answers(tmp_path):
    file = array(tmp_path, ALPACA)
    assert read_questions(file) == [OpenQuestion("0", "Why?", "helpful_base"), OpenQuestion("1", "How?", "koala")]
    found = read_baseline(file)
    assert found.name == "text_davinci_003"
    assert [found.answer("0", "Why?"), found.answer("1", "How?"), found.answer("2", "Who?")] == ["So.", "", None]


def test_arena_hards_rows_are_questions_and_answers(tmp_path):
    assert read_questions(lines(tmp_path, ARENA)) == [
        OpenQuestion("0a", "Why?", "hard_prompt"), OpenQuestion("0b", "How?", "creative_writing"),
    ]  # fmt: skip
    found = read_baseline(lines(tmp_path, ARENA_ANSWERS))
    assert found.name == "o3-mini-2025-01-31"
    assert [found.answer("0a", "Why?"), found.answer("0b", "How?"), found.answer("0c", "")] == [
        "Because.", "Thus.", None,
    ]  # fmt: skip


def test_difficulties_come_with_the_questions(tmp_path):
    file = array(tmp_path, [{**row, "instruction_difficulty": -1.5} for row in ALPACA])
    assert [question.difficulty for question in read_questions(file)] == [-1.5, -1.5]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no questions"), ([3], "row 0: the row is a number; expected an object"),
        ([{"instruktion": "a"}], "no key 'instruction' .* did you mean 'instruktion'?"),
        ([{"instruction": " "}], "row 0: 'instruction' is empty"),
        ([{"prompt": ["a"]}], "row 0: 'prompt' is a list; expected text"),
        ([{"prompt": "a", "uid": "x"}] * 2, "the question 'x' stands 2 times"),
        ([{"prompt": "a", "instruction_difficulty": "x"}], "'instruction_difficulty' is a text; expected a number"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_one_sentence(tmp_path, rows, sentence):
    with pytest.raises(UserError, match=sentence):
        read_questions(array(tmp_path, rows))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no answers"), ([{"instruction": "a"}], "row 0: no key 'output'"),
        ([{"uid": "a", "messages": []}], "'messages' is null; expected text"),
        ([{"uid": "a", "messages": [{"content": {"answer": 3}}]}], "'messages' is a number; expected text"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_one_sentence(tmp_path, rows, sentence):
    with pytest.raises(UserError, match=sentence):
        read_baseline(array(tmp_path, rows))


def test_a_question_is_asked_in_the_form_that_the_policy_was_trained_on():
    assert asked_like("Why?", "Tell me.") == "Why?"
    assert asked_like("Why?", as_prompt("What is 2 plus 2?")) == as_prompt("Why?")
    assert asked_like("Why?", "\n\nHuman: Hi\n\nAssistant:") == "\n\nHuman: Why?\n\nAssistant:"
    assert asked_like("Why?", Chat((Message("user", "Hi"),))) == Chat((Message("user", "Why?"),))
