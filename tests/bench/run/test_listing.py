"""What `bench ls` says of runs: whole, with cells missing, interrupted or going on; and names that can be typed."""

import os

import pytest

from gatebench.bench.analysis.summary import summarize, write_summary
from gatebench.bench.analysis.table import Table
from gatebench.bench.errors import UserError
from gatebench.bench.run.listing import known_runs, known_suites, runs_table, suites_table
from gatebench.bench.store.store import Store
from tests.helpers import DPO, plan_of, write


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of results in which runs are made by hand: (name, files with how old each is)."""
    monkeypatch.chdir(tmp_path)

    def made(name, **files):
        folder = tmp_path / "results" / "runs" / "good" / name
        folder.mkdir(parents=True)
        for file, age in files.items():
            if file == "summary":
                write_summary(
                    summarize(plan_of(tmp_path, DPO), Store(tmp_path / "none")), plan_of(tmp_path, DPO), folder
                )
            else:
                (folder / "log.jsonl").write_text("{}\n")
            path = folder / {"summary": "summary.json", "log": "log.jsonl"}[file]
            os.utime(path, (1e9 - age, 1e9 - age))

    made.results = tmp_path / "results"
    return made


def states(results):
    return {run.id: run.state for run in known_runs(results)}


def test_a_run_that_wrote_no_summary_after_its_events_was_interrupted(place):
    place("never", log=0)
    place("again", log=0, summary=60)
    place("ended", log=60, summary=0)
    place("nothing")
    assert states(place.results) == {"never": "interrupted", "again": "interrupted", "ended": "incomplete"}
    text = shown(runs_table(known_runs(place.results)))
    assert "interrupted" in text
    assert "the same bench run goes on" in text
    assert "0 of 2" in text


def test_while_the_store_is_used_it_may_be_running(place):
    place("never", log=0)
    store = Store(place.results / "store")
    store.root.mkdir(parents=True)
    with store.in_use():
        assert states(place.results) == {"never": "running"}
    assert states(place.results) == {"never": "interrupted"}


def test_a_suite_is_typed_as_it_is_run_or_as_its_runs_are_called(place):
    """The file is mine.yaml, the name in it another."""
    place("ended", log=60, summary=0)
    write(place.results.parent, DPO, "mine.yaml")
    (own,) = [suite for suite in known_suites() if suite.name == "mine.yaml"]
    assert own.runs == "good"
    assert "good" in shown(suites_table([own]))
    for name in (own.name, own.runs):
        assert [run.id for run in known_runs(place.results, name)] == ["ended"]
    with pytest.raises(UserError, match="did you mean 'good'"):
        known_runs(place.results, "goood")


def shown(table: Table) -> str:
    return " ".join([table.title, *(cell.text for row in table.rows for cell in row.cells), table.caption or ""])
