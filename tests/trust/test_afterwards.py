"""What is written after a result changes no record of it, and what is secret is in none."""

import json
import sqlite3
from contextlib import closing

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.run.suite_run import build
from gatebench.bench.secrets import without_secrets
from tests.helpers import CLAIM, DPO, bench, judge_server, prefers_the_longer, run_folder, suite_of, summary_of, write
from tests.trust.made import SUITE, copied, prepared
from tests.trust.tally import count

pytestmark = pytest.mark.slow
SECRET = "pl4nted-s3cret"  # noqa: S105
REWRITTEN = CLAIM.replace("greater", "less").replace("raises", "lowers")


def test_a_claim_rewritten_after_the_result_is_marked_wherever_it_is_told(finished, tmp_path):
    results = copied(finished, tmp_path)
    write(tmp_path, SUITE.replace(CLAIM, REWRITTEN))
    done = bench("run", tmp_path / "suite.yaml", "--results", results, MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    run, mark = run_folder(tmp_path), "after the fact"
    (claim,) = summary_of(run)["claims"]
    verdict = claim["verdict"] if claim["verdict"] == "undecided" else f"{claim['verdict']} in this run"
    assert claim["seen"] == 4
    assert mark in done.stdout
    assert "which stood in this suite when a run met it" in done.stderr
    page = (run / "report.html").read_text()
    assert f"{verdict}, {mark}" in page
    assert "which stood in this suite when a run met it" in page
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        told = dict(database.execute("SELECT key, value FROM tags WHERE key LIKE 'claim.%'").fetchall())
    assert told["claim.the gate lowers it"] == f"{verdict}, {mark}"
    kept = [json.loads(line) for line in (results / "claims/good.jsonl").read_text().splitlines()]
    assert [line["claim"]["expect"] for line in kept] == ["greater", "less"]
    count("claims rewritten after the result", 5)


def test_the_suite_that_is_kept_is_the_one_that_was_read(finished, tmp_path):
    copied(finished, tmp_path)
    ready = prepared(tmp_path)
    write(tmp_path, "name: another\n")
    build(ready)
    assert (ready.folder / "suite.yaml").read_text() == SUITE


def test_no_file_of_a_run_holds_a_password(tmp_path):
    """In addresses of a judge, of the studies' storage and of MLflow, in the file and on the command line."""
    results = tmp_path / "results"
    with judge_server(prefers_the_longer) as judge:
        place = judge.url.replace("://", f"://user:{SECRET}@")
        text = DPO + "  generate: {backend: transformers, prompts: 2, max_tokens: 4}\n"
        text += f"  judge: {{kind: endpoint, url: '{place}', model: m}}\n"
        text += f"tune: {{trials: 2, maximize: delta_chosen, storage: 'postgresql://me:{SECRET}@127.0.0.1:9/x'}}\n"
        suite = write(tmp_path, text)
        settings = (
            "--set",
            f"evaluate.judge.url={place}?api_key={SECRET}",
            "--set",
            f"tune.storage=postgresql://a:{SECRET}@h/x",
        )
        there = {"MLFLOW_TRACKING_URI": f"http://user:{SECRET}@127.0.0.1:9", "OPENAI_API_KEY": SECRET}
        done = bench("run", suite, "--results", results, *settings, **there)
        assert done.returncode == 0, done.stderr
        assert judge.requests
    refused = bench("tune", suite, "--results", results, **there)
    assert refused.returncode == 2, refused.stderr
    assert "tune.storage: postgresql://***@127.0.0.1:9/x" in refused.stderr
    for said in (done.stdout, done.stderr, refused.stdout, refused.stderr):
        assert SECRET not in said
    files = [file for file in results.rglob("*") if file.is_file()]
    holding = [file for file in files if SECRET.encode() in file.read_bytes()]
    assert not holding
    count("files of a run with planted passwords", len(files), wrong=len(holding))
    assert "url: 'http://***@127.0.0.1:" in (run_folder(tmp_path) / "suite.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@host/v1", "http://***@host/v1"), ("x: 'postgresql://me@host/db'", "x: 'postgresql://***@host/db'"),
        ("https://h/v1?api_key=abc&model=m", "https://h/v1?api_key=***&model=m"),
        ("https://h/v1?X-Token=abc", "https://h/v1?X-Token=***"), ("https://user:p@ss@host:80/v1", "https://***@host:80/v1"),
        ("mail me@here, see http://host/a@b", "mail me@here, see http://host/a@b"), ("sqlite:///a/b.db", "sqlite:///a/b.db"),
    ],
)  # fmt: skip
def test_passwords_of_addresses_are_hidden_and_nothing_else(text, shown):
    assert without_secrets(text) == shown


def test_a_key_in_place_of_its_variables_name_is_refused_without_being_repeated(tmp_path):
    judge = "  generate: {prompts: 2}\n  judge: {kind: endpoint, url: 'http://h/v1', model: m, key: sk-s3cret-1}\n"
    with pytest.raises(UserError, match="names the environment variable") as caught:
        suite_of(tmp_path, DPO + judge)
    assert "s3cret" not in str(caught.value)
