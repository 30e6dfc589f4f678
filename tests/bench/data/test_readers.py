"""Files in every form they come in: read, or one sentence that says what they are."""

import gzip
import json

import pytest

from gatebench.bench.data.readers import file_rows
from gatebench.bench.errors import UserError

ROWS = [{"prompt": f"Q{i}?", "chosen": f" ja {i} é \u2028 🎉", "rejected": f" no {i}"} for i in range(5)]
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
        ("a.csv", b"a,b", "a.csv: unknown format; expected one of .jsonl"),
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
