"""TRL's own script, its two names swapped, started from a command line and from a YAML file."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(find_spec("trl").origin).parent / "scripts" / "dpo.py"
ARGUMENTS = (
    "--max_steps 2 --per_device_train_batch_size 4 --learning_rate 1e-3 --bf16 False --use_cpu --report_to none"
    " --logging_steps 1 --save_strategy no --max_length 64 --seed 1"
)


def swapped(text: str) -> str:
    """The script with `DPOTrainer` and `DPOConfig` from here instead of there."""
    imports = re.compile(r"(from trl import .*?)\b(?:DPOTrainer|DPOConfig), ")
    text = re.sub(r"\b(DPOTrainer|DPOConfig)\b", r"Gated\1", imports.sub(r"\1", text))
    return "from gatebench import GatedDPOConfig, GatedDPOTrainer\n" + text


@pytest.fixture
def run(model_paths, preference_rows, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in preference_rows))

    def started(name, script, *more):
        file = tmp_path / f"{name}.py"
        file.write_text(script)
        out = tmp_path / name
        command = [sys.executable, file, *ARGUMENTS.split(), "--model_name_or_path", model_paths["llama"],
                   "--dataset_name", data, "--output_dir", out, "--dtype", "float32", *more]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "CI": "true", "PYTHONUTF8": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return load_file(out / "model.safetensors"), done.stdout + done.stderr

    return started


def test_trls_script_with_two_names_swapped_trains_trls_weights(run, tmp_path):
    text = SCRIPT.read_text(encoding="utf-8")
    assert "from trl import DPOTrainer, get_dataset" in text
    theirs, _ = run("stock", text)
    ours, _ = run("ours", swapped(text))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    words = ["--gate", "seq", "--gate_tau", "q30", "--gate_alpha", "5/tau", "--loss", "dpo"]
    gated, said = run("gated", swapped(text), *words, "--loss_parameters", '{"beta": 0.2}')
    assert "gate/tau" in said
    assert any(not torch.equal(gated[name], theirs[name]) for name in theirs)

    file = tmp_path / "arguments.yaml"
    file.write_text("gate: seq\ngate_tau: q30\ngate_alpha: 5/tau\nloss: dpo\nloss_parameters:\n  beta: 0.2\n")
    same, _ = run("from_a_file", swapped(text), "--config", str(file))
    assert all(torch.equal(same[name], gated[name]) for name in theirs)
