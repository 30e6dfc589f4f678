"""What deploy/ holds: images of all that is imported, a cluster of one volume, a script on a stand-in for Slurm."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import psutil
import pytest
import yaml

from tests.helpers import DPO, ROOT, wait_for, write
from tests.ray_nodes import SLOW

DEPLOY = ROOT / "deploy"
PACKAGES = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
IMAGES = sorted(DEPLOY.glob("Dockerfile.*"))
CLAIM, CLUSTER = yaml.safe_load_all((DEPLOY / "raycluster.yaml").read_text())
GROUPS = [CLUSTER["spec"]["headGroupSpec"], *CLUSTER["spec"]["workerGroupSpecs"]]
NODES = 'import ray; ray.init(logging_level="ERROR"); print("nodes", sum(node["Alive"] for node in ray.nodes()))'
COMMANDS = """python -c "$0"
RAY_AUTH_TOKEN=another bench run "$1" --executor ray
echo code $?"""
STAND_INS = {  # of commands that only a node of Slurm's has: what is told to run on other nodes runs here
    "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'printf "first\\nsecond\\n"',
    "hostname": "echo 127.0.0.1",
}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.suffix[1:])
def test_an_image_holds_all_packages_at_the_tested_versions(image):
    text = image.read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()}
    assert copied >= {*PACKAGES, "suites", "constraints.txt"}
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"pip install --constraint constraints\.txt '\.\[(.+)\]'", text)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    (python,) = re.findall(r"^FROM python:([\d.]+)-slim", text, re.M)
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]


@pytest.mark.hadolint
@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.suffix[1:])
def test_an_image_passes_the_linter(image):
    done = subprocess.run(["hadolint", image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_cluster_has_one_ray_one_image_and_one_volume():
    """By eye and by KubeRay's own schema it was checked when it was written; here, what has to agree with itself."""
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert CLUSTER["spec"]["rayVersion"] == pinned
    pods = [group["template"]["spec"] for group in GROUPS]
    containers = [container for pod in pods for container in pod["containers"]]
    assert len({container["image"] for container in containers}) == 1
    for pod, container in zip(pods, containers, strict=True):
        (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        assert volume["name"] == mount["name"]
        assert container["workingDir"] == mount["mountPath"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert all(isinstance(value, str) for group in GROUPS for value in group["rayStartParams"].values())


def test_the_probes_of_the_cluster_ask_ports_that_are_open():
    head, *workers = GROUPS
    (own,) = head["template"]["spec"]["containers"]
    assert own["livenessProbe"]["tcpSocket"]["port"] == own["ports"][0]["containerPort"]
    for group in workers:
        (own,) = group["template"]["spec"]["containers"]
        assert str(own["livenessProbe"]["tcpSocket"]["port"]) == group["rayStartParams"]["node-manager-port"]


@pytest.mark.slow
@pytest.mark.ray
def test_the_slurm_script_has_a_command_run_on_all_nodes_and_leaves_nothing(tmp_path):
    for name, body in STAND_INS.items():
        file = tmp_path / name
        file.write_text(f"#!/bin/bash\n{body}\n")
        file.chmod(0o755)
    folder = tempfile.mkdtemp(prefix="ray")  # short: the paths of sockets must be
    place = {"RAY_TMPDIR": folder, "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": str(os.getpid())}
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    try:
        done = subprocess.run(
            ["bash", DEPLOY / "ray.sbatch", "bash", "-c", COMMANDS, NODES, write(tmp_path, DPO)],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, **SLOW, **place, "PATH": path}, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "nodes 2" in done.stdout
        assert "the cluster asks for another token than this machine has" in done.stderr
        assert "code 2" in done.stdout
        assert "Traceback" not in done.stderr

        def left():
            return [
                own.pid for own in psutil.process_iter(["cmdline"]) if folder in " ".join(own.info["cmdline"] or ())
            ]

        wait_for(lambda: not left(), "end of the cluster", seconds=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
