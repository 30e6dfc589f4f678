"""The adapters, on files of every layout they promise to read."""

import gzip
import json
import random

import pytest

from gatebench.bench.data import adapters
from gatebench.bench.data.adapters import load
from gatebench.bench.data.pairs import Chat, Message, is_unrelated
from gatebench.bench.data.source import DataSource, data_content_of
from gatebench.bench.errors import UserError
from tests.needs import SHARED

ROWS = [{"prompt": f"Q{i}?", "chosen": f" yes {i}", "rejected": f" no {i}"} for i in range(40)]


def source(path, **more):
    extra = filter(None, (more.get("test_path"), more.get("probes_path")))
    content = data_content_of(str(path), more.get("subset"), None, *extra)
    return DataSource(
        content, more.pop("train", None), more.pop("test", None), more.pop("probes", 4), path=str(path), **more
    )


def jsonl(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_local_files(tmp_path, name):
    import pandas

    path = tmp_path / name
    if path.suffix == ".parquet":
        pandas.DataFrame(ROWS).to_parquet(path)
    else:
        jsonl(path, ROWS)
    data = load(source(path, train=30))
    assert [p.chosen for p in data.train] == [row["chosen"] for row in ROWS[:30]]
    assert [p.chosen for p in data.test] == [row["chosen"] for row in ROWS[30:]]
    assert len(data.probes["train"]) == 4
    assert {k for p in data.probes["train"] for k in p.responses if is_unrelated(k)} == {
        "irr_train", "irr_test", "irr_hum", "random_permute", "random_nonhum",
    }  # fmt: skip


def test_hub_layouts(tmp_path):
    """A local folder in the hub's layout goes through `datasets` as a hub name would."""
    folder = tmp_path / "hub" / "helpful-base"
    folder.mkdir(parents=True)
    transcript = "\n\nHuman: Hi {i}\n\nAssistant:"
    rows = [
        {"chosen": transcript.format(i=i) + " hello", "rejected": transcript.format(i=i) + " go away"} for i in range(9)
    ]
    jsonl(folder / "train.jsonl.gz", rows[:6])
    jsonl(folder / "test.jsonl.gz", rows[6:])
    data = load(source(tmp_path / "hub", subset="helpful-base", train=5))
    assert len(data.train) == 5
    assert len(data.test) == 3
    assert data.train[0].prompt == "\n\nHuman: Hi 0\n\nAssistant:"
    assert data.train[0].rejected == " go away"


def test_conversations_keep_their_turns(tmp_path):
    chat = [
        {
            "prompt": [{"role": "user", "content": f"Hi {i}"}],
            "chosen": [{"role": "assistant", "content": "hello"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for i in range(8)
    ]
    whole = [
        {"prompt": "Hi", "chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]}
        for row in chat
    ]
    for name, rows in (("apart.jsonl", chat), ("whole.jsonl", whole)):
        data = load(source(jsonl(tmp_path / name, rows), train=6))
        assert data.train[1].prompt == Chat((Message("user", "Hi 1"),))
        assert data.train[1].chosen == "hello"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"prompt": "Q", "chosen": "a"}, "a.jsonl:2: no key 'rejected'"),
        ({"prompt": "Q", "chosen": "a", "rejcted": "b"}, "did you mean 'rejcted'"),
        ({"prompt": "Q", "chosen": "a", "rejected": "a"}, "chosen and rejected are equal"),
        ({"prompt": "Q", "chosen": " ", "rejected": "a"}, "'chosen' is empty"),
        ({"prompt": "", "chosen": "b", "rejected": "a"}, "'prompt' is empty"),
    ],
)
def test_bad_rows_are_refused_above_the_share_and_counted_below(tmp_path, broken, message):
    path = jsonl(tmp_path / "a.jsonl", [ROWS[0], broken, ROWS[1]])
    with pytest.raises(UserError, match="1 of 3 rows are bad") as caught:
        load(source(path))
    assert message in str(caught.value)
    few = jsonl(tmp_path / "b.jsonl", [ROWS[0], broken, *ROWS[1:]])
    data = load(source(few, train=35))
    assert len(data.train) == 35
    assert len(data.dropped) == 1


@pytest.mark.parametrize(("text", "message"), [("", "the data set is empty"), ("{not json}\n", "a.jsonl:1: not JSON")])
def test_unreadable_files(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load(source(path))


def test_fewer_rows_than_asked_for_are_said_and_none_is_refused(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", ROWS[:10])
    with pytest.raises(
        UserError, match=r"test: 4 was asked for and no row is left \(10 rows that can be used, of which 10"
    ):
        load(source(path, train=16, test=4))
    data = load(source(path, train=8, test=4))
    assert (len(data.train), len(data.test)) == (8, 2)
    assert data.cautions == ("data set a.jsonl: test asks for 4 rows, 2 were there and are used",)


def test_held_out_rows_that_equal_training_rows_are_left_out_and_counted(tmp_path):
    swapped = {**ROWS[2], "chosen": ROWS[2]["rejected"], "rejected": ROWS[2]["chosen"]}
    shared = {**ROWS[3], "chosen": " another"}
    path = jsonl(tmp_path / "a.jsonl", [*ROWS[:9], ROWS[0], ROWS[1], swapped, shared, *ROWS[10:12]])
    data = load(source(path, train=10))
    assert [pair.prompt for pair in data.test] == ["Q3?", "Q10?", "Q11?"]
    assert data.cautions == (
        "data set a.jsonl: 2 held-out rows equal training rows and were left out of all held-out figures",
        "data set a.jsonl: 1 of 10 training rows repeat another one",
        "data set a.jsonl: 1 of 3 held-out rows have the prompt of a training row",
    )


def test_an_unknown_hub_name_is_one_sentence():
    with pytest.raises(UserError, match="nobody/nothing: cannot load split 'train'"):
        load(source("nobody/nothing"))


def test_content_is_the_bytes_not_the_path(tmp_path):
    one, two = jsonl(tmp_path / "a.jsonl", ROWS), jsonl(tmp_path / "b.jsonl", ROWS)
    other = jsonl(tmp_path / "c.jsonl", ROWS[1:])
    assert data_content_of(str(one), None, None) != data_content_of(str(other), None, None)
    (tmp_path / "x").mkdir()
    moved = tmp_path / "x" / "a.jsonl"
    moved.write_bytes(one.read_bytes())
    assert data_content_of(str(one), None, None) == data_content_of(str(moved), None, None)
    assert data_content_of(str(one), None, None) == data_content_of(str(two), None, None)


@pytest.mark.hh
def test_the_hh_pairs_and_the_thirteen_column_probing_set():
    data = load(source(
        SHARED / "data/hh_helpful_train.jsonl.gz", probes=500,
        test_path=str(SHARED / "data/hh_helpful_test.jsonl.gz"),
        probes_path=str(SHARED / "data/hh_probes_train.jsonl.gz"),
    ))  # fmt: skip
    assert (len(data.train), len(data.test)) == (2341, 499)
    kinds = set(data.probes["train"][0].responses)
    assert len(kinds) == 12
    assert sum(map(is_unrelated, kinds)) == 5
    assert {p.prompt for p in data.probes["train"]} <= {p.prompt for p in data.train}
    assert not {p.prompt for p in data.test} & {p.prompt for p in data.train}
    chat = load(source(SHARED / "data/lf_dpo_en_demo_conversational.jsonl.gz", train=250))
    assert len(chat.train) == 250
    assert adapters.plain(chat.train[0].prompt).startswith("\n\nHuman: ")
    assert random.Random(0).choice(chat.train).chosen
