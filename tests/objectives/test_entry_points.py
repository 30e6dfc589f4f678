"""A third party adds a loss, a gate, a judge and an executor, each in one file of its own package, by entry points."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from gatebench.bench import keys
from gatebench.bench.judges.api import Spec
from tests.helpers import DPO, ROOT, plan_of, python

EXAMPLE = ROOT / "tests/example_plugin"
ANSWERED = DPO + "  generate: {backend: transformers, prompts: 2}\n"
USE = """
import torch
from gatebench.objectives import gates
from gatebench.objectives.gates import Gate
from gatebench.objectives.registry import get_loss
from tests.cases import golden_pair
loss = get_loss("slic_hf")
value = loss.function(golden_pair(), loss.make_parameters(margin=20.0, regularizer=0.5))
assert value.item() == 20 + 50 - 62 + 25, value
p = gates.probability("worst", torch.log(torch.tensor([[0.5, 0.25, 1.0]])), torch.tensor([[1, 1, 0]]))
assert abs(p.item() - 0.25) < 1e-6
assert gates.weights(Gate("worst", 1e6, 0.3), torch.log(torch.tensor([[0.5, 0.25]])), torch.ones(1, 2)).item() == 0
from gatebench.bench.suite.schema import Objective
assert Objective.model_validate({"loss": "slic_hf", "margin": 2.0}).parameters == {"margin": 2.0}
print("plugged in")
"""
# arguments: a folder, then suites as texts; prints what each says, or the specs and keys of its judge stages
PLANS = """
import json, sys
from pathlib import Path
from gatebench.bench.errors import UserError
from tests.helpers import plan_of
found = []
for text in sys.argv[2:]:
    try:
        plan = plan_of(Path(sys.argv[1]), text)
    except UserError as error:
        found.append(list(error.sentences))
    else:
        found.append(sorted((node.key, repr(node.spec.parameters)) for node in plan.nodes.values()
                            if node.kind == "judge"))
print(json.dumps(found))
"""
EXECUTES = """
import sys
from pathlib import Path
from gatebench.bench.errors import UserError
from gatebench.bench.executors.api import Resources
from gatebench.bench.executors.registry import get_executor, make_executor
if __name__ == "__main__":
    executor = make_executor(Resources(2, 1, 0, Path(sys.argv[1])), "lone")
    print(type(executor).__name__, len(executor.workers))
    executor.close()
    try:
        get_executor("loan")
    except UserError as error:
        print(error)
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


@pytest.fixture
def with_plugin(installed):
    """A fresh process beside which the example package is installed; what it printed."""

    def run(code, *arguments):
        done = python(code, *arguments, PYTHONPATH=os.pathsep.join([str(installed), str(ROOT)]))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def judged_by(judge):
    return f"{ANSWERED}  judge: {judge}\n"


def test_a_loss_and_a_gate_of_another_package(with_plugin):
    assert with_plugin(USE) == "plugged in"


def test_without_the_package_its_names_are_unknown():
    assert "unknown loss 'slic_hf'" in python(USE, cwd=ROOT).stderr


def test_a_judge_of_another_package_has_parameters_that_count_in_its_key(with_plugin, tmp_path):
    texts = map(judged_by, ("{kind: concise, strictness: 0.3}", "{kind: concise, parameters: {strictness: 0.3}}",
                            "{kind: concise, strictness: 0.4}", "concise"))  # fmt: skip
    beside, inside, other, default = json.loads(with_plugin(PLANS, tmp_path, *texts))
    assert {parameters for _, parameters in beside} == {"Concise(strictness=0.3)"}
    assert {parameters for _, parameters in default} == {"Concise(strictness=0.0)"}
    assert beside == inside
    keys_of = [{key for key, _ in found} for found in (beside, other, default)]
    assert all(len(own) == 2 for own in keys_of)  # two cells
    assert len(set.union(*keys_of)) == 6


def test_a_suite_without_such_parameters_has_the_keys_that_it_had(with_plugin, tmp_path):
    """With the package beside it or not; and a Spec without parameters has none in its canonical form."""
    plan = plan_of(tmp_path, judged_by("exact"))
    here = sorted(key for key, node in plan.nodes.items() if node.kind == "judge")
    ((*there,),) = json.loads(with_plugin(PLANS, tmp_path, judged_by("exact")))
    assert [key for key, _ in there] == here
    assert keys.canonical(Spec("exact")) == {"kind": "exact", "model": "", "content": ""}


OWN = " (one of your own: an entry point of the group gatebench.{})"
MISTAKES = {
    "{kind: concise, strictnes: 0.3}": "evaluate.judge.strictnes: unknown key; ",
    "{kind: concise, parameters: {strictnes: 0.3}}": "'strictnes'; did you mean 'strictness'?",
    "{kind: concise, strictness: 2}": "strictness 2 is no share; write one in [0, 1)",
    "{kind: exact, strictness: 0.3}": "evaluate.judge.strictness: unknown key; ",
    "{kind: concize}": "unknown judge 'concize'; did you mean 'concise'?" + OWN.format("judges"),
}


def test_a_mistake_in_its_parameters_is_one_sentence_with_its_place(with_plugin, tmp_path):
    line = judged_by("exact").splitlines().index("  judge: exact") + 1
    found = json.loads(with_plugin(PLANS, tmp_path, *map(judged_by, MISTAKES)))
    for (sentence,), expected in zip(found, MISTAKES.values(), strict=True):
        assert sentence.startswith(f"{tmp_path / 'suite.yaml'}:{line}: evaluate.judge")
        assert expected in sentence


def test_an_executor_of_another_package_is_made_by_its_name(with_plugin, tmp_path):
    made, refused = with_plugin(EXECUTES, tmp_path).splitlines()
    assert made == "LocalExecutor 1"
    assert refused == "--executor: unknown executor 'loan'; did you mean 'lone'?" + OWN.format("executors")
