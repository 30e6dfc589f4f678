"""What is broken is told from what is only other than tested, and only that ends in exit code 1."""

import json

import huggingface_hub.constants
import pytest
from packaging.requirements import Requirement

from gatebench.bench import shipped
from gatebench.bench.doctor.libraries import library_findings, needed, python_finding
from gatebench.bench.doctor.machine_checks import disk_finding, hub_finding, memory_finding
from tests.helpers import bench, free_port
from tests.hostile import hostile, whole

NEEDS = [Requirement("torch>=2.13,<2.14"), Requirement("lm-eval==0.4.13"), Requirement("rich>=15")]
TESTED = {"torch": "2.13.0", "lm_eval": "0.4.13", "rich": "15.0.0"}


def states(installed):
    return {one.what: (one.state, one.found) for one in library_findings(NEEDS, TESTED, installed.get)}


@pytest.mark.parametrize(
    ("installed", "what", "state"),
    [
        ({"torch": "2.13.0+cu130", "lm-eval": "0.4.13", "rich": "15.0.0"}, "libraries", ("fine", "3 as tested")),
        ({"torch": "2.12.1", "lm-eval": "0.4.13", "rich": "15.0.0"}, "torch", ("broken", "2.12.1")),
        ({"torch": "2.13.0", "rich": "15.0.0"}, "lm-eval", ("broken", "not installed")),
        ({"torch": "2.13.0", "lm-eval": "0.4.13", "rich": "16.1"}, "libraries", ("note", "rich 16.1 (tested: 15.0.0)")),
    ],
)
def test_versions_against_those_that_are_needed_and_tested(installed, what, state):
    assert states(installed)[what] == state


def test_the_tested_versions_are_of_what_is_needed():
    """Every library of the metadata stands in constraints.txt, within its bounds."""
    known = {name.lower().replace("_", "-"): number for name, number in shipped.tested_versions().items()}
    wrong = [need for need in needed() if not need.specifier.contains(known[need.name.lower()])]
    assert len(needed()) > 20
    assert not wrong


def test_pythons():
    assert python_finding((3, 10, 1)).state == "broken"
    assert python_finding((3, 12, 4)).state == "fine"
    assert "3.13" in python_finding((3, 15, 0)).advice


def test_too_little_memory_and_a_folder_without_rights(tmp_path, monkeypatch):
    assert memory_finding(8_000_000_000, 500_000_000).state == "broken"
    assert memory_finding(8_000_000_000, None).state == "fine"
    assert disk_finding(tmp_path / "not" / "yet").state != "broken"
    monkeypatch.setattr("os.access", lambda place, mode: False)
    assert disk_finding(tmp_path).state == "broken"


@pytest.mark.slow
def test_the_command_says_what_it_finds_and_fails_for_what_is_broken(tmp_path):
    fine = bench("doctor", "--json", "--results", tmp_path, HF_HUB_OFFLINE="1")
    found = {one["what"]: one for one in json.loads(fine.stdout)}
    assert fine.returncode == 0, fine.stdout
    assert found["hub"]["state"] == "note"
    assert found["torch"]["state"] == found["Python"]["state"] == "fine"
    assert all(one["advice"] for one in found.values() if one["state"] != "fine")
    broken = bench("doctor", "--results", tmp_path, HF_HUB_OFFLINE="1", GATEBENCH_DATA=str(tmp_path / "gone"))
    assert broken.returncode == 1
    assert "is no folder" in broken.stdout
    assert "Traceback" not in broken.stderr


def test_a_hub_that_answers_and_one_that_does_not(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with hostile(lambda server, client, _: server.send(client, whole("200 OK", b""))) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        assert hub_finding().state == "fine"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    found = hub_finding()
    assert (found.state, "does not answer" in found.found, "--data" in found.advice) == ("note", True, True)
