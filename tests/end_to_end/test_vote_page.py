"""`bench vote` for real: two raters vote in a browser, blind; their votes are a judge, their agreement is told; the
verdicts are exported."""

import itertools
import json
import re
import signal
import subprocess
from contextlib import contextmanager

import pandas
import pytest

from tests.end_to_end.browser import page
from tests.helpers import DPO, as_written, bench, run_folder, start_bench, summary_of, write

pytestmark = [pytest.mark.slow, pytest.mark.browser]
SCRIPT = "<script>window.hit=1</script><img src=x onerror='window.hit=1'>"
ASKING = DPO + "  generate: {backend: transformers, prompts: 6, max_tokens: 6}\n"


@pytest.fixture(scope="module")
def suite(tmp_path_factory, good_run):
    """A finished suite whose gated cell says something hostile to its first prompt."""
    folder = tmp_path_factory.mktemp("vote")
    file = write(folder, ASKING)
    good_run.copy_store(folder)
    done = bench("run", file, "--results", folder / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    for number, cell in enumerate(summary_of(run_folder(folder))["cells"]):
        (place,) = (folder / "results/store/generate").glob(cell["stages"]["generate"]["key"])
        frame = pandas.read_parquet(place / "generations.parquet")
        frame["response"] = [f"answer {n} of a policy" + " that is longer" * number for n in frame["prompt"]]
        frame.loc[(frame["prompt"] == 0) & (number == 1), "response"] = SCRIPT
        frame.to_parquet(place / "generations.parquet")
        as_written(place)
    return file


@contextmanager
def voting(suite, rater):
    """The address of the page while the command runs."""
    server = start_bench("vote", suite, "--results", suite.parent / "results", "--rater", rater,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    said = list(itertools.takewhile(lambda line: "Ctrl-C ends it" not in line, server.stdout))
    addresses = [line.split("vote at ")[1].strip() for line in said if "vote at " in line]
    assert addresses, said
    yield addresses[0]
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0


def is_longer(found, side):
    other = {"left": "right", "right": "left"}[side]
    return len(found.locator(f"#{side}").inner_text()) > len(found.locator(f"#{other}").inner_text())


def voted(found, number):
    """Wait for the page to say so; its content policy lets no test evaluate strings in it."""
    found.locator("#progress", has_text=re.compile(rf"^{number} of 6 voted on")).wait_for()


def test_two_raters_vote_and_their_votes_are_a_judge(suite):
    results = suite.parent / "results"
    with voting(suite, "anna") as address, page(viewport={"width": 1280, "height": 900}) as (found, errors):
        found.goto(address)
        for number in range(6):
            voted(found, number)
            shown = found.locator("main").inner_text()
            assert not any(word in shown for word in ("neox", "dpo", "seq", "ungated"))  # whose they are
            found.keyboard.press("1" if is_longer(found, "left") else "3")
        voted(found, 6)
        assert not found.locator("#ballot").is_visible()
        assert found.evaluate("window.hit") is None
        assert found.locator("img").count() == 0
        assert errors == []
    with voting(suite, "ben") as address, page(viewport={"width": 390, "height": 844}) as (found, errors):
        found.goto(address)
        voted(found, 0)
        found.locator("[data-choice=left]").click()
        voted(found, 1)
        found.reload()
        voted(found, 1)
        found.locator("[data-choice=skip]").click()
        found.locator("#left", has_text=re.compile(".")).wait_for()
        found.locator("[data-choice=tie]").click()
        voted(found, 2)
        assert found.evaluate("document.documentElement.scrollWidth") <= 390
        assert errors == []
    agreement = json.loads(bench("vote", suite, "--results", results, "--agreement", "--json").stdout)
    assert [(one["first"], one["second"], one["both"]) for one in agreement] == [("anna", "ben", 2)]

    judged = write(
        suite.parent, ASKING + "  judge: {kind: human, votes: results/votes/good/anna.jsonl}\n", "judged.yaml"
    )
    done = bench("run", judged, "--results", results, "--workers", 1)
    assert done.returncode == 0, done.stderr
    (gated,) = (c["metrics"] for c in summary_of(newest(suite.parent))["cells"] if c["gate"] == "seq")
    assert gated["judge_vs_ungated_win_rate"] == 1.0  # anna likes what is longer
    assert gated["judge_vs_ungated_missing"] == 0
    exported = bench("report", judged, "--judged", suite.parent / "exported", "--results", results)
    assert exported.returncode == 0, exported.stderr
    (file,) = (suite.parent / "exported/alpaca_eval/ungated").glob("*/annotations.json")
    assert [row["preference"] for row in json.loads(file.read_text())] == [2.0] * 6
    table = bench("vote", judged, "--results", results, "--agreement").stdout
    assert "judge human" in table
    assert "Cohen's kappa" in table


def newest(folder):
    return max((folder / "results/runs/good").iterdir(), key=lambda place: (place / "summary.json").stat().st_mtime)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_all(suite, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with voting(suite, "cora") as address, page(color_scheme=scheme) as (found, errors):
        found.goto(address)
        voted(found, 0)
        violations = Axe().run(found).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
        assert errors == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--rater '': expected a name of letters, digits, - and _, as --rater anna"),
        (["--rater", "../x"], "--rater '../x': expected a name"),
        (["--rater", "anna", "--against", "ungatd"], "did you mean 'ungated'?"),
        (["--rater", "anna", "--against", "baseline"], "good: no two answers to vote on"),
    ],
)
def test_a_mistake_is_one_sentence(suite, arguments, sentence):
    done = bench("vote", suite, "--results", suite.parent / "results", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_votes_and_no_verdicts_are_one_sentence(suite, tmp_path):
    results = suite.parent / "results"
    other = write(tmp_path, ASKING.replace("name: good", "name: other"))
    assert "no votes; `bench vote" in bench("vote", other, "--results", results, "--agreement").stderr
    assert "no cell has verdicts" in bench("report", suite, "--judged", tmp_path / "out", "--results", results).stderr
