"""What the README shows, run as it stands."""

import re
import subprocess
import sys

import pytest

from gatebench.bench.shipped import suite_file
from gatebench.bench.suite.reader import load_suite
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language, having):
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if having in text]
    return found


def test_the_gated_script_runs_in_a_fresh_file(tmp_path, model_paths):
    script = block("python", "GatedDPOTrainer").replace("path/or/hub-id", model_paths["llama"])
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "gate/mean" in done.stdout


def test_it_is_read_in_a_minute_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 120
    links = [place.split("#")[0] for place in re.findall(r"\]\(([^)]+)\)", README) if not place.startswith("http")]
    assert len(links) > 15
    assert [place for place in links if not (ROOT / place).exists()] == []


@pytest.mark.parametrize(("suite", "profile"), re.findall(r"bench run (\w+) --profile (\w+)", README))
def test_the_suites_it_runs_are_shipped(suite, profile):
    assert load_suite(suite_file(suite), profile).name == suite


def test_no_placeholder_is_left():
    assert "{{" not in README


@pytest.mark.parametrize("words", ["gate(trainer", "SqueezingCallback())"])
def test_the_lines_for_a_trainer_that_is_there_work(tmp_path, model_paths, words):
    """Of README.md and docs/trl.md, between the script of the README and its last line."""
    script = block("python", "GatedDPOTrainer").replace("path/or/hub-id", model_paths["llama"])
    script = script.replace('    gate="seq",\n    gate_alpha="5/tau",\n    gate_tau="q50",  # new\n', "")
    script = script.replace(
        "from gatebench import GatedDPOConfig, GatedDPOTrainer", "from trl import DPOConfig, DPOTrainer"
    )
    script = script.replace("GatedDPO", "DPO").removesuffix("trainer.train()\n")
    text = README + (ROOT / "docs" / "trl.md").read_text(encoding="utf-8")
    (lines,) = [
        own for own in re.findall(r"```python\n(.*?)```", text, re.S) if words in own and "DPOConfig" not in own
    ]
    (tmp_path / "script.py").write_text(script + lines + ("" if "train()" in lines else "trainer.train()\n"))
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert ("gate/tau" if "gate(" in words else "squeezing/delta_argmax") in done.stdout
