"""Data files of every kind, mutated: each is read rightly, or refused in one sentence."""

import gzip
import io
import json
import random
from copy import deepcopy

import pytest

from gatebench.bench.data.adapters import load, load_corpus
from gatebench.bench.data.pairs import Chat
from gatebench.bench.data.source import DataSource, data_content_of
from gatebench.bench.errors import UserError
from tests.trust.tally import count, some

FILES_OF_A_KIND = some(60, 1000)
ASK = "Say {i}."
TEXTS = [{"prompt": ASK.format(i=i), "chosen": f"yes {i} é \u2028 🎉", "rejected": f"no {i}"} for i in range(30)]
TURNS = [
    {"prompt": [{"role": "user", "content": row["prompt"]}],
     "chosen": [{"role": "assistant", "content": row["chosen"]}],
     "rejected": [{"role": "assistant", "content": row["rejected"]}]} for row in TEXTS
]  # fmt: skip
WHOLE = [{"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]} for row in TURNS]
SCRIPTS = [
    {side: f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[side]}" for side in ("chosen", "rejected")} for row in TEXTS
]
SHARED = [
    {"conversations": [{"from": "human", "value": row["prompt"]}],
     **{side: {"from": "gpt", "value": row[side]} for side in ("chosen", "rejected")}} for row in TEXTS
]  # fmt: skip
TOOLS = [
    {**row, "chosen": [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}],
     "tools": [{"name": "f"}]} for row in TURNS
]  # fmt: skip
LAYOUTS = {"texts": TEXTS, "turns": TURNS, "whole": WHOLE, "scripts": SCRIPTS, "shared": SHARED, "tools": TOOLS}
FORMATS = ("a.jsonl", "a.jsonl.gz", "a.json", "a.parquet")
VALUES = (
    None, True, 0, -1, 1e400, 10**400, "", " ", "\ud800", "\0", "a" * 100_000, [], {}, [None], [[]], [{}], ["a", {}],
    {"role": "user"}, [{"role": "assistant", "content": 3}], [{"role": 3, "content": "a"}], {"a": {"b": [1, None]}},
    [{"type": "text", "text": "hi"}], [{"role": "user", "content": [{"type": "image"}]}], "\u202e\u200b",
)  # fmt: skip

OF_COLUMNS = (None, "", " ", "\0", "a" * 100_000)  # what columns of one type can hold


def mutated_rows(rows, rng, values):
    """A few values, keys or rows of another kind."""
    rows = json.loads(json.dumps(rows))
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        row = rng.randrange(len(rows))
        if rng.random() < 0.15 or not isinstance(rows[row], dict) or not rows[row]:
            rows[row] = deepcopy(rng.choice((*values, rows[rng.randrange(len(rows))])))
            continue
        key = rng.choice(list(rows[row]))
        if rng.random() < 0.2:
            del rows[row][key]
        elif rng.random() < 0.2 and isinstance(rows[row][key], list) and rows[row][key]:
            rows[row][key][0] = deepcopy(rng.choice(values))
        else:
            rows[row][key] = deepcopy(rng.choice(values))
    return rows


def mutated_bytes(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        place = rng.randrange(len(content) + 1)
        kind = rng.randrange(7)
        if kind == 0 and content:
            content[place % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[place:]
        elif kind == 2:
            content[place:place] = rng.randbytes(rng.randrange(1, 40))
        elif kind == 3:
            del content[place : place + rng.randrange(1, 200)]
        elif kind == 4:
            content[place:place] = rng.choice(
                (b"\n", b"\r\n", b"\0", b"[", b"{", b'"', b"," * 9, b"[" * 3000, b"9" * 5000)
            )
        elif kind == 5:
            content += content[: place or 1]
        else:
            content[:0] = rng.choice((b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1", b"version https://git-lfs"))
    return bytes(content)


def as_file(name, rows):
    if name == "a.parquet":
        import pandas

        buffer = io.BytesIO()
        pandas.DataFrame([row if isinstance(row, dict) else {"row": row} for row in rows]).to_parquet(buffer)
        return buffer.getvalue()
    text = json.dumps(rows) if name == "a.json" else "".join(json.dumps(row) + "\n" for row in rows)
    return gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()


def is_text(response):
    if isinstance(response, str):
        return bool(response.strip()) and bool(response.encode())
    return all(isinstance(message.content, str) and message.content.encode() is not None for message in response)


def is_right(data):
    """Nothing of what a row may hold has become something else."""
    pairs = (*data.train, *data.test)
    prompts = (pair.prompt.messages if isinstance(pair.prompt, Chat) else pair.prompt for pair in pairs)
    return (
        all(is_text(pair.chosen) and is_text(pair.rejected) and pair.chosen != pair.rejected for pair in pairs)
        and all(is_text(prompt) for prompt in prompts)
        and len(data.train) <= 16
        and not any(f" {word} " in f" {pair.chosen} " for pair in pairs for word in ("None", "NaN"))
        and all(row.place and row.reason and "\n" not in row.reason for row in data.dropped)
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mutated_files_are_read_rightly_or_refused_in_a_sentence(tmp_path, layout, name):
    rng, path, read = random.Random(f"{layout}/{name}"), tmp_path / name, 0
    values = OF_COLUMNS if name == "a.parquet" else VALUES
    for _ in range(FILES_OF_A_KIND):
        rows = mutated_rows(LAYOUTS[layout], rng, values) if rng.random() < 0.7 else LAYOUTS[layout]
        try:
            content = as_file(name, rows)
        except (ValueError, TypeError, OverflowError, ArithmeticError):
            if name != "a.parquet":  # which has columns of one type
                raise
            content = as_file(name, LAYOUTS[layout])
        path.write_bytes(mutated_bytes(content, rng))
        source = DataSource(data_content_of(str(path), None, None), 16, 4, 4, max_dropped=0.5, path=str(path))
        data, refused = None, []
        try:
            data = load(source)
            load_corpus(source)
        except UserError as error:
            refused = error.sentences
        wrong = data is not None and not is_right(data)
        count(f"data files, {name[2:]}", wrong=wrong)
        assert not wrong, path.read_bytes()[:2000]
        assert len(refused) <= 1
        assert all(said.startswith(str(path)) and "\n" not in said for said in refused)
        read += data is not None
    assert FILES_OF_A_KIND / 10 < read < FILES_OF_A_KIND
