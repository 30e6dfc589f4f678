"""A suite for a user's own file: columns are recognised, sizes follow the data, and what is written plans and runs."""

import csv
import json

import pandas
import pytest

from gatebench.bench.cli.commands.init import init_command
from gatebench.bench.data.recognition import Recognised, recognise
from gatebench.bench.errors import UserError
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.readable import check_rows
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.suite.proposal import propose, sizes_of
from gatebench.bench.suite.reader import load_suite
from tests.helpers import bench

ROWS = [(f"What is {n}, and why?", f"It is {n}, as was said.", f"I cannot say what {n} is.") for n in range(40)]


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def named(prompt, chosen, rejected):
    return [{prompt: p, chosen: good, rejected: bad} for p, good, bad in ROWS]


def messages(text, role="assistant"):
    return [{"role": role, "content": text}]


FORMS = {
    "our names": (named("prompt", "chosen", "rejected"), {}),
    "others": (named("question", "good_answer", "bad_answer"),
               {"prompt": "question", "chosen": "good_answer", "rejected": "bad_answer"}),
    "a prefix": (named("Instruction", "response_preferred", "response_dispreferred"),
                 {"prompt": "Instruction", "chosen": "response_preferred", "rejected": "response_dispreferred"}),
    "winner": (named("input", "winner", "loser"), {"prompt": "input", "chosen": "winner", "rejected": "loser"}),
    "transcripts": ([{"chosen": f"\n\nHuman: {p}\n\nAssistant: {g}", "rejected": f"\n\nHuman: {p}\n\nAssistant: {b}"}
                     for p, g, b in ROWS], {}),
    "conversations": ([{"chosen": messages(p, "user") + messages(g), "rejected": messages(p, "user") + messages(b)}
                       for p, g, b in ROWS], {}),
    "a column beside": ([{**row, "chosen_score": 3, "notes": "good"} for row in named("prompt", "chosen", "rejected")],
                        {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_columns_are_recognised_and_the_suite_plans(tmp_path, form):
    rows, columns = FORMS[form]
    data = tmp_path / "my pairs.v2.jsonl"
    data.write_text(lines_of(rows))
    seen = recognise(data)
    assert (seen.columns, seen.usable, seen.bad) == (columns, 40, 0)
    text = propose("mine", data.name, seen)
    suite = load_suite(tmp_path / "mine.yaml", text=text)
    sources = resolve(suite, tmp_path / "mine.yaml")
    plan = make_plan(suite, sources)
    check_rows(plan, sources)
    assert len(plan.cells) == 18
    assert suite.gates[1].alpha == "5/tau"
    assert suite.datasets[0].train + suite.datasets[0].test == 40
    lines = [line.strip() for line in text.splitlines()]
    assert all(len(line) <= 120 for line in lines)
    assert sum("# " in line for line in lines) > 10


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_formats(tmp_path, ending):
    data = tmp_path / f"pairs.{ending}"
    rows = named("query", "accepted", "rejected_answer")
    if ending == "csv":
        with data.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif ending == "json":
        data.write_text(json.dumps(rows))
    else:
        pandas.DataFrame(rows).to_parquet(data)
    assert recognise(data).columns == {"prompt": "query", "chosen": "accepted", "rejected": "rejected_answer"}


def seen_of(rows, length):
    return Recognised({}, rows, 0, "", [length] * rows, [length] * rows, 4 * rows * length)


def test_sizes_follow_the_data():
    small, middle, large = (sizes_of(seen_of(*of)) for of in ((20, 30), (2000, 300), (200_000, 3000)))
    assert small.tokens < middle.tokens <= large.tokens == 2_500_000
    assert small.steps < middle.steps <= large.steps == 240
    assert small.context < middle.context
    assert (small.train, small.test) == (16, 4)
    assert (large.train, large.test) == (5000, 200)
    assert small.whole < middle.whole <= large.whole == 256
    assert all(sizes.prompt < sizes.whole for sizes in (small, middle, large))


def test_rows_that_cannot_be_used_are_allowed_for(tmp_path):
    data = tmp_path / "pairs.jsonl"
    data.write_text(lines_of([*named("prompt", "chosen", "rejected"), *[{"prompt": "a", "chosen": "b"}] * 10]))
    seen = recognise(data)
    assert (seen.usable, seen.bad) == (40, 10)
    assert "pairs.jsonl:41: no key 'rejected'" in seen.reason
    assert load_suite(tmp_path / "mine.yaml", text=propose("mine", data.name, seen)).datasets[0].max_dropped == 0.25


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the file is empty"),
        (lines_of([{"text": "a", "label": 1}] * 30), "no key 'chosen'"),
        (lines_of([3, 4]), "the row is a number"),
    ],
)
def test_a_file_without_pairs_is_refused_in_a_sentence(tmp_path, content, sentence):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"a\.jsonl: ") as caught:
        recognise(tmp_path / "a.jsonl")
    assert sentence in str(caught.value)
    assert len(caught.value.sentences) == 1


@pytest.mark.parametrize(
    ("suite", "data", "expected"),
    [
        ("mine.yaml", "few.jsonl", "5 pairs; at least 20"),
        ("mine.yaml", "gone.jsonl", "no such file"),
        ("there.yaml", "few.jsonl", "there is a file already"),
        ("mine", "few.jsonl", "a suite is a YAML file; name it "),
        ("no/mine.yaml", "few.jsonl", "does not exist"),
    ],
)
def test_mistakes_of_the_command_write_nothing(tmp_path, suite, data, expected):
    (tmp_path / "few.jsonl").write_text(lines_of(named("prompt", "chosen", "rejected")[:5]))
    (tmp_path / "there.yaml").write_text("a: 1\n")
    with pytest.raises(UserError) as caught:
        init_command(tmp_path / suite, tmp_path / data)
    assert expected in str(caught.value)
    assert len(caught.value.sentences) == 1
    assert {file.name for file in tmp_path.iterdir()} == {"few.jsonl", "there.yaml"}


@pytest.mark.slow
def test_what_is_written_runs_as_it_is(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pairs.jsonl").write_text(lines_of(named("question", "better", "worse")[:24]))
    made = bench("init", "mine.yaml", "--data", "data/pairs.jsonl", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "24 pairs (prompt from 'question', chosen from 'better', rejected from 'worse')" in made.stderr
    done = bench("run", "mine.yaml", "--only", "model=neox-0.3m,seed=0", "--set", "base.tokens=8192", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    listed = json.loads(bench("ls", "--json", cwd=tmp_path).stdout)
    assert "mine.yaml" in [suite["name"] for suite in listed["suites"]]
    assert "scale_vs_gate" in [suite["name"] for suite in listed["suites"]]
    assert [run["suite"] for run in listed["runs"]] == ["mine"]
    cells = json.loads(bench("ls", "cells", "mine", "--json", cwd=tmp_path).stdout)["cells"]
    assert [(cell["cell"], cell["status"]) for cell in cells] == [
        (f"neox-0.3m/pairs/dpo/{gate}/0", "finished") for gate in ("none", "seq", "constant")
    ]
    assert "Δ chosen" in bench("ls", "cells", cwd=tmp_path).stdout
    wrong = bench("ls", "runs", "mien", cwd=tmp_path)
    assert (wrong.returncode, "did you mean 'mine'?" in wrong.stderr) == (2, True)
