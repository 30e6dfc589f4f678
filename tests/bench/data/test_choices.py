"""Files of right and wrong answers: pairs, RewardBench 2's rows, and what is refused."""

import json

import pandas
import pytest

from gatebench.bench.data.choices import load_choices, number_of_answers
from gatebench.bench.data.pairs import Chat, Message
from gatebench.bench.errors import UserError

BEST_OF_4 = {"id": "12", "prompt": "Two?", "chosen": [" 2"], "rejected": [" 3", " 4", " 5"], "subset": "Math"}
TIED = {"id": "tied:0", "prompt": "A colour?", "chosen": ["red", "blue"], "rejected": ["seven"], "subset": "Ties"}


def written(folder, *rows):
    file = folder / "choices.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_pairs_and_lists_are_read(tmp_path):
    turns = [{"role": "user", "content": "Hi"}]
    rows = [
        {"prompt": "P", "chosen": " a", "rejected": " b"},
        BEST_OF_4,
        TIED,
        {"prompt": turns, "chosen": ["x"], "rejected": ["y"]},
    ]
    pair, best, tied, chat = load_choices(written(tmp_path, *rows))
    assert (pair.prompt, pair.right, pair.wrong, pair.identity) == ("P", (" a",), (" b",), "")
    assert (best.right, best.wrong, best.identity) == ((" 2",), (" 3", " 4", " 5"), "12")
    assert (tied.right, tied.wrong, tied.identity) == (("red", "blue"), ("seven",), "tied:0")
    assert chat.prompt == Chat((Message("user", "Hi"),))
    assert number_of_answers([pair, best, tied]) == 2 + 4 + 3
    assert len(load_choices(written(tmp_path, *rows), most=2)) == 2
    (turn, *_) = load_choices(written(tmp_path, BEST_OF_4), "messages")
    assert turn.prompt == Chat((Message("user", "Two?"),))
    assert turn.right == ("2",)


def test_parquet_is_read_as_well(tmp_path):
    pandas.DataFrame([BEST_OF_4, TIED]).to_parquet(tmp_path / "choices.parquet")
    assert [choice.identity for choice in load_choices(tmp_path / "choices.parquet")] == ["12", "tied:0"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**BEST_OF_4, "rejected": []}, r"choices.jsonl:1: chosen or rejected has no answer"),
        ({**BEST_OF_4, "chosen": [" 3"]}, r"choices.jsonl:1: chosen and rejected are equal"),
        ({**BEST_OF_4, "rejected": [" 3", " "]}, r"choices.jsonl:1: 'rejected' is empty"),
        ({"prompt": "P", "chosen": "a"}, r"choices.jsonl:1: no key 'rejected'"),
        ("row", r"choices.jsonl:1: the row is a text"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(tmp_path, row, sentence):
    with pytest.raises(UserError, match=sentence):
        load_choices(written(tmp_path, row))
    with pytest.raises(UserError, match="no row; expected rows with prompt, chosen and rejected"):
        load_choices(written(tmp_path))
