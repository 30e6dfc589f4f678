"""What stands beside the code for those who come from outside: one version everywhere, and workflows that fit it."""

import re
import tomllib

import yaml

from gatebench.bench.doctor.libraries import TESTED_PYTHONS
from tests.helpers import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WORKFLOWS = ROOT / ".github/workflows"


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_version_is_one():
    releases = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert read(ROOT / "CITATION.cff")["version"] == VERSION == releases[0]


def test_the_changelog_has_a_place_for_what_comes():
    head = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("## [")
    assert head[1].startswith("Unreleased]")
    assert "Keep a Changelog" in head[0]


def test_the_tests_run_on_every_python_that_is_promised():
    (first, last) = TESTED_PYTHONS
    promised = [f"3.{minor}" for minor in range(first[1], last[1] + 1)]
    assert read(WORKFLOWS / "checks.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == f">={promised[0]}"


def test_only_the_step_that_publishes_may_ask_for_an_identity():
    for file in WORKFLOWS.glob("*.yml"):
        found = read(file)
        assert found["permissions"] == {"contents": "read"}
        for name, job in found["jobs"].items():
            assert ("id-token" in job.get("permissions", {})) == (name == "publish")


def test_the_forms_are_ones_that_the_host_reads():
    forms = [file for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if file.stem != "config"]
    assert len(forms) == 3
    for file in forms:
        found = read(file)
        assert {"name", "description", "body"} <= found.keys()
        assert all(part["attributes"]["label"] for part in found["body"])


def test_hooks_call_what_the_setup_installs():
    hooks = [hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    tools = {word for hook in hooks for word in hook["entry"].split() if "/bin/" in word}
    assert {tool.strip("\"'").rpartition("/")[2] for tool in tools} == {"ruff", "mypy"}
