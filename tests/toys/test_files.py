"""In how many files of the repository a built-in's own name had to be written: no more than CONTRIBUTING promises.

What can be told by a search: names that mean nothing else, as words in the code and pages that are installed. A name
that stands elsewhere for a reason of its own has that place beside it.
"""

import re
from pathlib import Path

import pytest

from tests.helpers import ROOT

FOLDERS = ("gatebench", "objectives", "bench", "dashboards")
KINDS = {".py", ".html", ".js", ".css"}


def files_with(word, *parts, ends=r"(?!\w)"):
    """The installed files in which a word stands."""
    found = re.compile(rf"(?<![\w:]){re.escape(word)}{ends}")
    files = (file for folder in parts or FOLDERS for file in sorted((ROOT / folder).rglob("*")))
    return {str(file.relative_to(ROOT)) for file in files if file.suffix in KINDS and found.search(file.read_text())}


def test_a_loss_is_its_file_and_a_line_in_the_registry():
    """perf times each loss by name, trl.py lists them for its users; neither has to know a new one."""
    listings = {"bench/perf/harness.py", "bench/perf/checks.py", "objectives/trl/config.py"}
    for name in ("cal_dpo", "dpo_shift"):
        assert files_with(name) - listings == {f"objectives/losses/{name}.py", "objectives/registry.py"}


@pytest.mark.parametrize(
    ("stage", "by_its_results"),
    [
        ("lm_eval", {"bench/metrics/tasks.py"}),
        ("reference", set()),
        ("generate", {"bench/metrics/answers.py"}),  # whose metrics are made of its table
        ("judge", {"bench/metrics/verdicts.py"}),
    ],
)
def test_a_stage_is_its_file_a_line_in_the_registry_and_its_place_in_the_planner(stage, by_its_results):
    """As a kind: what the registry lists, the planner adds and a source of metrics is made of."""
    kind = re.compile(rf'(STAGE = Stage\(|nodes\.add\(\s*|= Source\(\s*)"{stage}"')
    found = {
        str(file.relative_to(ROOT)) for file in sorted((ROOT / "bench").rglob("*.py")) if kind.search(file.read_text())
    }
    assert found == {f"bench/stages/{stage}.py", "bench/plan/planner.py", *by_its_results}
    assert re.search(rf"\b{stage}\b", (ROOT / "bench/stages/registry.py").read_text())


METRICS = {
    "dynamics": "delta_rejected delta_argmax delta_entropy delta_chosen_per_token delta_rejected_per_token "
    "delta_others_per_token delta_argmax_per_token",
    "answers": "pass_rate distinct_2 overlap",
    "verdicts": "win_rate win_rate_lc inconsistent",
}


@pytest.mark.parametrize(("metric", "source"), [(own, file) for file in METRICS for own in METRICS[file].split()])
def test_a_metric_is_a_function_in_the_file_of_its_source(metric, source):
    assert files_with(metric, "bench", "dashboards") == {f"bench/metrics/{source}.py"}


def test_an_executor_is_its_file():
    """Its name is also the default of two options, that of a data set's key, and an address of Ray's."""
    named = files_with('"local"', "bench", "gatebench")
    options = {f"bench/cli/commands/{command}.py" for command in ("run", "tune")}
    others = options | {"bench/tracking/entries.py", "bench/plan/resolve.py", "bench/tune/search.py",
                        "bench/executors/ray_cluster.py", "bench/perf/harness.py"}  # fmt: skip
    assert named - others == {
        "bench/executors/local.py", "bench/executors/registry.py",
    }  # fmt: skip
    assert files_with("LocalExecutor") == {"bench/executors/local.py", "bench/executors/ray.py"}  # one a node


@pytest.mark.parametrize(
    ("judge", "own"), [("endpoint", "Endpoint"), ("reward_model", "RewardModel"), ("exact", "Exact")]
)
def test_a_judge_is_its_file(judge, own):
    """Its name stands in the suite's documentation and in a sentence that recommends it, in no code."""
    assert files_with(f'"{judge}"', "bench", "dashboards") == {f"bench/judges/{judge}.py"}
    own = judge.title().replace("_", "")
    asks_it = {"bench/judges/arena_hard.py", "bench/judges/alpaca_eval.py"} if judge == "endpoint" else set()
    assert files_with(own, "bench", "dashboards") - asks_it <= {f"bench/judges/{judge}.py"}


@pytest.mark.parametrize("toy", ["loss", "gate", "judge", "executor", "metric", "stage"])
def test_a_toy_is_one_file_of_which_nothing_installed_knows(toy):
    text = (Path(__file__).parent / f"{toy}.py").read_text()
    assert not re.search(r"^\s*(from|import) tests", text, re.MULTILINE)
    assert not files_with("toy_", ends="")
