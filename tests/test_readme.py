"""What the README shows, run as it stands."""

import re
import subprocess
import sys

import pytest

from gatebench.bench.suite.reader import load_suite
from tests.helpers import ROOT, write

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


def test_the_suite_is_valid(tmp_path):
    suite = load_suite(write(tmp_path, block("yaml", "name: mine")))
    assert [objective.loss for objective in suite.objectives][-1] == "trl:hinge"


def test_the_objective_of_one_file_works(tmp_path):
    scope = {}
    exec(block("python", "HingeSum"), scope)  # noqa: S102
    from tests.cases import golden_pair

    assert scope["hinge_sum"](golden_pair(), scope["HingeSum"](margin=5.0)).item() == 1.0  # h = 4


def test_no_placeholder_is_left():
    assert "{{" not in README


@pytest.mark.parametrize("words", ["gate(trainer", "SqueezingCallback())"])
def test_the_lines_for_a_trainer_that_is_there_work(tmp_path, model_paths, words):
    """Of README.md and docs/trl.md, between the script of the README and its last line."""
    script = block("python", "GatedDPOTrainer").replace("path/or/hub-id", model_paths["llama"])
    script = script.replace('    gate="seq",\n    gate_alpha=100,\n    gate_tau="q50",  # new\n', "")
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
