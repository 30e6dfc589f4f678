"""The rehearsal of the suite that people come for: every stage that its large models will run, on small ones of their
architectures, from a mirror of the hub and without a network."""

import json

import pytest

from tests.helpers import SUITES, bench, stage_folder, summary_of
from tests.hub_mirror import mirror

pytestmark = pytest.mark.slow


def test_the_llm_suite_is_rehearsed_from_a_mirror(tmp_path):
    offline = {"HF_HOME": str(mirror(tmp_path / "mirror")), "HF_HUB_OFFLINE": "1"}
    given = (SUITES / "scale_vs_gate.yaml", "--profile", "llm_rehearsal", "--results", tmp_path / "results")
    planned = bench("plan", *given, "--json", "--hardware", "h100", **offline)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["estimate"]["memory"] > 0
    done = bench("run", *given, **offline)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "not pinned" not in done.stderr
    (run,) = (tmp_path / "results" / "runs" / "scale_vs_gate").iterdir()
    cells = summary_of(run)["cells"]
    assert {cell["status"] for cell in cells} == {"finished"}
    assert {(cell["model"], cell["dataset"]) for cell in cells} == {
        ("pythia", "hh"), ("qwen2.5", "ultrafeedback"), ("llama", "ultrafeedback"),
    }  # fmt: skip
    assert {cell["gate"].split("-")[0] for cell in cells} >= {"none", "seq", "q10", "constant", "shuffled"}
    adapted = next(cell for cell in cells if cell["model"] == "llama")
    assert (stage_folder(tmp_path / "results", adapted, "train") / "model" / "adapter_config.json").exists()
    assert set(adapted["stages"]) >= {"base", "warmup", "reference", "train", "dynamics", "generate", "lm_eval"}


def test_every_profile_of_the_llm_suite_fits_what_it_says(tmp_path):
    """500 GB of disk, and one GPU of 80 GB a cell."""
    given = (SUITES / "scale_vs_gate.yaml", "--profile", "llm", "--results", tmp_path, "--hardware", "h100")
    done = bench("plan", *given, "--json", HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    found = json.loads(done.stdout)
    assert found["estimate"]["disk"] < 500e9
    assert found["estimate"]["memory"] < 80e9
    assert found["cautions"] == []
