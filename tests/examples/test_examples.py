"""The examples, run as their first lines say."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from tests import needs
from tests.helpers import ROOT

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


def test_every_example_is_shown_in_the_documentation():
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert [file.name for file in EXAMPLES.iterdir() if file.is_file() and f"examples/{file.name}" not in page] == []


def test_a_trl_script_with_three_changed_lines(tmp_path, model_paths, preference_rows):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(f"{json.dumps(row)}\n" for row in preference_rows))
    done = subprocess.run(
        [sys.executable, EXAMPLES / "trl_script.py", model_paths["llama"], pairs], cwd=tmp_path, capture_output=True,
        text=True, check=False, env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gate/mean" in done.stdout
    assert "gate/tau" in done.stdout


def test_the_notebook_goes_from_a_suite_to_a_figure(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "suite_to_figure.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "kept without outputs"
    done = nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in done.cells for output in cell.get("outputs", []))
    assert "held-out Δ chosen" in printed
    assert (tmp_path / "dynamics.png").stat().st_size > 10_000


class Theirs:
    """A trainer with the part of LLaMA-Factory's that the example builds on; log_probs: of 2B responses, summed."""

    def __init__(self, log_probs: torch.Tensor, loss_type: str) -> None:
        self.log_probs, self.loss_type = log_probs, loss_type

    def concatenated_forward(self, model, batch, is_ref_model=False):
        batch.pop("labels")
        chosen, rejected = self.log_probs.chunk(2)
        return {"chosen_logps": chosen, "rejected_logps": rejected, "chosen_logps_avg": chosen}


@pytest.fixture
def llama_factory(monkeypatch) -> ModuleType:
    """The example, beside empty modules of LLaMA-Factory's names, whose trainer only its own environment has."""
    for name in ("llamafactory", "llamafactory.extras", "llamafactory.train"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, own in {"extras.constants": "IGNORE_INDEX", "train.dpo": "trainer", "train.tuner": "run_exp"}.items():
        module = ModuleType(name)
        setattr(module, own, -100)
        monkeypatch.setitem(sys.modules, f"llamafactory.{name}", module)
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / "llama_factory.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("loss_type", ["sigmoid", "simpo"])
def test_the_gate_in_llama_factory_scales_the_rejected_side_alone(llama_factory, loss_type):
    """Two pairs; of a rejected response of 4 tokens p is e^-1 and e^-3."""
    sums = torch.tensor([-2.0, -2.0, -4.0, -12.0])
    given = (sums / 4 if loss_type == "simpo" else sums).requires_grad_()
    labels = torch.full((4, 7), -100)
    labels[:, 3:] = 1
    trainer = llama_factory.gated(Theirs, tau=0.2, alpha=10.0)(given, loss_type)
    output = trainer.concatenated_forward(None, {"labels": labels})
    assert torch.equal(output["rejected_logps"], given.detach()[2:])
    (output["chosen_logps"] + output["rejected_logps"]).sum().backward()
    expected = torch.sigmoid(10 * (torch.exp(torch.tensor([-1.0, -3.0])) - 0.2))
    torch.testing.assert_close(given.grad, torch.cat([torch.ones(2), expected]))
    assert output["rejected_logps"].grad_fn is not None
    plain = trainer.concatenated_forward(None, {"labels": labels}, is_ref_model=True)["rejected_logps"]
    given.grad = None
    plain.sum().backward()
    assert torch.equal(given.grad, torch.tensor([0.0, 0.0, 1.0, 1.0]))


@pytest.mark.llama_factory
def test_the_gate_in_llama_factory_itself(tmp_path, model_paths):
    done = subprocess.run(
        [needs.LLAMA_FACTORY, "-m", "tests.examples.llama_factory", tmp_path, model_paths["llama"]], cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
