"""One key for the same rows, from the hub or from a copy in whatever format; other rows are refused."""

import csv
import gzip
import json
import re

import pytest
import yaml

from gatebench.bench import keys
from gatebench.bench.data.contents import rows_digest
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.suite.reader import load_suite
from gatebench.bench.tune.search import with_files
from tests.helpers import GATED_DPO, bench, write
from tests.hub_mirror import COMMIT, ORGANISATION, helpful, snapshot

HH = f"""
  - name: hh
    path: {ORGANISATION}/hh-rlhf
    subset: helpful-base
    revision: {COMMIT}
    local: {{train: train.csv, test: deep/test.jsonl.gz}}
    train: 16
    test: 6
"""
TOOLBOX = "\n  - {name: toolbox, path: builtin:toolbox, train: 24, test: 8}\n"
SUITE = GATED_DPO.replace(TOOLBOX, HH).replace("context: 64", "context: 32").replace("max_length: 64", "max_length: 96")


@pytest.fixture
def hub(tmp_path) -> dict[str, str]:
    """The variables of an environment whose hub has the data set in its own files."""
    helpful(snapshot(tmp_path / "hub", "datasets", "hh-rlhf") / "helpful-base")
    return {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}


def copy(tmp_path):
    """The same rows in other formats, the prompts apart."""
    folder = snapshot(tmp_path / "hub", "datasets", "hh-rlhf") / "helpful-base"
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    rows = {}
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows[split] = [json.loads(line) for line in file]
    with (data / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "chosen", "prompt", "rejected"])
        for row in rows["train"]:
            prompt, end, chosen = row["chosen"].rpartition("Assistant:")
            writer.writerow(["", chosen, prompt + end, row["rejected"].removeprefix(prompt + end)])
    with gzip.open(data / "deep/test.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows["test"]))
    return data


def stages(suite, *more, **environment):
    done = bench("plan", suite, "--results", suite.parent / "results", "--json", *more, **environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return set(found["stages"]), " ".join(found["cautions"])


@pytest.mark.slow
def test_a_suite_that_names_its_rows_has_the_same_keys_from_the_hub_and_from_a_copy(tmp_path, hub):
    data, suite = copy(tmp_path), write(tmp_path, SUITE)
    (by_hub, _), (by_bytes, told) = stages(suite, **hub), stages(suite, "--data", data, **hub)
    assert not by_hub & by_bytes
    (digest,) = re.findall("rows: ([0-9a-f]{64})", told)
    suite = write(tmp_path, SUITE.replace("train: 16", f"rows: {digest}\n    train: 16"))
    (hubs, _), (copies, told) = stages(suite, **hub), stages(suite, GATEBENCH_DATA=str(data), **hub)
    assert hubs == copies
    assert "keys of its own" not in told
    run = ("run", suite, "--results", tmp_path / "results")
    first = bench(*run, **hub)
    assert first.returncode == 0, first.stderr
    again = bench(*run, "--data", data, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "none"))
    assert again.returncode == 0, again.stderr
    assert "0 stages run" in again.stderr
    text = (data / "train.csv").read_text()
    (data / "train.csv").write_text(text.replace("of course", "perhaps", 1))
    (tmp_path / "others").mkdir()
    other = bench("run", suite, "--results", tmp_path / "others", "--data", data, **hub)
    assert other.returncode == 2
    assert f"and the suite names {digest}" in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1


def source_of(tmp_path, data):
    suite = load_suite(write(tmp_path, SUITE))
    sources = resolve(suite, tmp_path / "suite.yaml", data)
    make_plan(suite, sources)
    return sources.datasets["hh"]


def test_the_digest_is_of_rows_and_their_order_alone(tmp_path, hub):
    data = copy(tmp_path)
    whole = source_of(tmp_path, data)
    before = rows_digest(whole)
    lines = (data / "train.csv").read_text().splitlines(keepends=True)
    (data / "train.csv").write_text("".join(lines).replace("note,", "remark,", 1))
    assert rows_digest(whole) == before
    assert rows_digest(whole.shortened(1)) == before  # however many of them are used
    changed = (data / "train.csv").read_text().replace("of course", "perhaps", 1)
    (data / "train.csv").write_text(changed)
    assert rows_digest(whole) != before


def test_what_a_folder_of_copies_lacks_is_one_sentence(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").touch()
    suite = write(tmp_path, SUITE)
    done = bench("plan", suite, "--data", tmp_path / "data")
    assert done.returncode == 2
    assert f"datasets.0.local: {tmp_path / 'data'} has no test.jsonl.gz; put it there, or read" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    gone = bench("plan", suite, "--data", tmp_path / "gone")
    assert gone.returncode == 2
    assert "Traceback" not in gone.stderr


def test_a_winners_suite_names_the_files_of_the_copy_and_keeps_its_keys(tmp_path, hub):
    data = copy(tmp_path)
    (tmp_path / "best").mkdir()
    suite = load_suite(write(tmp_path, SUITE))
    source = resolve(suite, tmp_path / "suite.yaml", data).datasets["hh"]
    raw = suite.model_dump(mode="json", exclude_defaults=True)
    raw["datasets"] = [with_files(raw["datasets"][0], source, tmp_path / "best")]
    moved = write(tmp_path / "best", yaml.safe_dump(raw))
    found = resolve(load_suite(moved), moved).datasets["hh"]
    assert keys.canonical(found) == keys.canonical(source)
    assert raw["datasets"][0]["path"] == "../data/train.csv"
