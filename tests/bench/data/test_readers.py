"""Files in every form they come in: read, or one sentence that says what they are."""

import gzip
import json
import re
from itertools import islice

import pandas
import pytest

from gatebench.bench.data import readers
from gatebench.bench.data.adapters import load, load_corpus
from gatebench.bench.data.readers import file_rows
from gatebench.bench.data.source import DataSource, data_content_of
from gatebench.bench.errors import UserError

ROWS = [{"prompt": f"Q{i}?", "chosen": f" ja {i} é \u2028 🎉", "rejected": f" no {i}"} for i in range(5)]
COMMAS = "\n".join(["prompt,chosen,rejected", *(f'Q{i}?," ja {i} é \u2028 🎉", no {i}' for i in range(5)), ""])
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.encode()),
        ("bom.jsonl", LINES.encode("utf-8-sig")),
        ("crlf.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("blank.jsonl", ("\n" + LINES.replace("\n", "\n \n")).encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode())),
        ("line.json", ARRAY.encode()),
        ("pretty.json", json.dumps(ROWS, indent=1, ensure_ascii=False).encode("utf-8-sig")),
        ("array.jsonl", ARRAY.encode()),
        ("array.json.gz", gzip.compress(ARRAY.encode())),
        ("a.csv", COMMAS.encode("utf-8-sig")),
        ("crlf.csv.gz", gzip.compress(COMMAS.replace("\n", "\r\n\r\n").encode())),
    ],
)
def test_forms_that_are_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = list(file_rows(tmp_path / name))
    assert [row for _, row in found] == ROWS
    assert all(place.startswith(f"{tmp_path / name}:") for place, _ in found)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("utf16.jsonl", LINES.encode("utf-16"), "utf16.jsonl:1: the file is UTF-16; expected UTF-8"),
        (
            "latin1.jsonl",
            b'{"prompt": "a"}\n{"prompt": "\xe9"}\n',
            "latin1.jsonl:2: byte 13 of the line (0xe9) is not UTF-8",
        ),
        (
            "cut.jsonl.gz",
            gzip.compress(LINES.encode() * 500)[:-40],
            "cut.jsonl.gz: the gzip file is cut off after line",
        ),
        ("plain.jsonl.gz", LINES.encode(), "plain.jsonl.gz: not a gzip file"),
        ("bad.parquet", b"PAR1 version https://git-lfs.github.com/spec/v1", "bad.parquet: a pointer of Git LFS"),
        ("lfs.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "lfs.jsonl: a pointer of Git LFS"),
        ("broken.parquet", b"PAR1 nothing PAR1", "broken.parquet: not a readable parquet file"),
        ("a.tsv", b"a\tb", "a.tsv: unknown format; expected one of .jsonl"),
        (
            "semicolons.csv",
            b"prompt;chosen;rejected\n1;2;3\n",
            "semicolons.csv:1: no columns ('prompt;chosen;rejected')",
        ),
        ("twice.csv", b"a,b,a\n1,2,3\n", "twice.csv:1: the column 'a' stands twice"),
        ("comma.csv", b"a,b\n1,2\nyes, sir,no\n", "comma.csv:3: 3 fields, and the head has 2; put a text"),
        ("quote.csv", b'a,b\n1,"2\n', "quote.csv:2: not CSV (unexpected end of data)"),
        ("latin1.csv", b"a,b\n1,\xe9\n", "latin1.csv:2: byte 3 of the line (0xe9) is not UTF-8"),
        ("half.json", b'[\n{"a": 1},\n{"b": \n', "half.json:4: not JSON"),
        ("words.jsonl", b'{"a": 1}\nwords\n', "words.jsonl:2: not JSON"),
        ("deep.jsonl", b"[" * 100_000, "deep.jsonl:1: not JSON (nested too deeply)"),
    ],
)
def test_forms_that_are_refused_in_a_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(file_rows(tmp_path / name))
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.json"])
def test_of_many_rows_those_are_read_that_are_used(tmp_path, name):
    """Behind row 30 stands what could not be read; of the corpus of a built-in model it is."""
    rows = [{"prompt": f"Q{i}?", "chosen": " yes", "rejected": " no"} for i in range(30)]
    path = tmp_path / name
    if name == "a.parquet":
        frame = pandas.DataFrame(rows * 100)
        frame.to_parquet(path, row_group_size=30)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255  # of a later row group, or of its pages' headers
        path.write_bytes(content)
        list(islice(file_rows(path), 30))
        return
    text = "".join(json.dumps(row) + "\n" for row in rows)
    whole = f"[{', '.join(map(json.dumps, rows))}, {{half" if name == "a.json" else text + "{half"
    path.write_bytes(gzip.compress(whole.encode()) if name.endswith(".gz") else whole.encode())
    source = DataSource(data_content_of(str(path), None, None), 20, 10, 4, path=str(path))
    assert [pair.prompt for pair in load(source).test] == [f"Q{i}?" for i in range(20, 30)]
    with pytest.raises(UserError, match="not JSON"):
        load_corpus(source)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1}', "Expecting ',' or ']'"), ('[{"a": 1} {"a": 2}]', "Expecting ',' or ']'"),
        ("[", "Expecting value"),
        ('[{"a": 1}] more', "Extra data"), ("[{]", "Expecting property name"), ("[" * 100_000, "nested too deeply"),
        ("[1" + "0" * 5000 + "]", "Exceeds the limit"), ('\n\n[{"a": 1},\n{"a": 2},\n{b}]', ":5: not JSON"),
    ],
)  # fmt: skip
def test_an_array_that_is_none_is_one_sentence(tmp_path, text, expected):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        list(file_rows(path))
    assert str(caught.value).startswith(f"{path}:")


def test_arrays_are_read_in_any_dress(tmp_path):
    path = tmp_path / "a.json"
    for text in ("[]", " [ ]\n", "[1,2]", "[1, 2]\n\n", "\n[\n 1\n,\n 2\n]\n"):
        path.write_text(text)
        assert [row for _, row in file_rows(path)] == json.loads(text)


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_LINE", 1000)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "' + b"a" * 10_000))
    with pytest.raises(UserError, match=r"a.jsonl.gz:1: the line is longer than 1,000 bytes"):
        list(file_rows(path))


def test_a_field_of_a_table_may_hold_commas_lines_and_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('prompt,chosen,rejected\n"Q, ""x""\nand more?",yes,\nP?,a,b\n')
    (first, row), (second, _) = file_rows(tmp_path / "a.csv")
    assert row == {"prompt": 'Q, "x"\nand more?', "chosen": "yes", "rejected": ""}
    assert (first, second) == (f"{tmp_path / 'a.csv'}:3", f"{tmp_path / 'a.csv'}:4")
