"""A third party adds a loss and a gate in one file of its own package, through entry points."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "example_plugin"
USE = """
import torch
from gatebench.objectives import gates
from gatebench.objectives.gates import Gate
from gatebench.objectives.registry import get_loss
from tests.cases import golden_pair
loss = get_loss("slic")
value = loss.function(golden_pair(), loss.make_parameters(margin=20.0, regularizer=0.5))
assert value.item() == 20 + 50 - 62 + 25, value
p = gates.probability("worst", torch.log(torch.tensor([[0.5, 0.25, 1.0]])), torch.tensor([[1, 1, 0]]))
assert abs(p.item() - 0.25) < 1e-6
assert gates.weights(Gate("worst", 1e6, 0.3), torch.log(torch.tensor([[0.5, 0.25]])), torch.ones(1, 2)).item() == 0
from gatebench.bench.suite.schema import Objective
assert Objective.model_validate({"loss": "slic", "margin": 2.0}).parameters == {"margin": 2.0}
print("plugged in")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package, built and unpacked where only the test's own process looks."""
    folder = tmp_path_factory.mktemp("plugin")
    build = "from setuptools import build_meta as b; import sys; print(b.build_wheel(sys.argv[1]))"
    source = tmp_path_factory.mktemp("source")
    for file in EXAMPLE.rglob("*"):
        if file.is_file() and "egg-info" not in str(file):
            (source / file.relative_to(EXAMPLE)).parent.mkdir(parents=True, exist_ok=True)
            (source / file.relative_to(EXAMPLE)).write_bytes(file.read_bytes())
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_a_loss_and_a_gate_of_another_package(installed):
    root = str(EXAMPLE.parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), root])}
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "plugged in"


def test_without_the_package_its_names_are_unknown():
    done = subprocess.run(
        [sys.executable, "-c", USE], capture_output=True, text=True, check=False, cwd=EXAMPLE.parents[1]
    )
    assert "unknown loss 'slic'" in done.stderr
