"""An exported cell is loaded by transformers alone and gives the log-probs that the cell was measured with."""

import json
from pathlib import Path

import pandas
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gatebench.bench.data.toolbox import load_toolbox
from gatebench.bench.export.card import applying, cautions_of
from tests.helpers import GATED_DPO, bench, response_log_prob, run_folder, stage_folder, summary_of, write

pytestmark = pytest.mark.slow
MODELS = """
  - {name: whole, path: 'builtin:ladder/neox-0.3m'}
  - {name: adapted, path: 'builtin:ladder/neox-0.3m', adapter: {kind: lora, r: 4}}
  - {name: half, path: 'builtin:ladder/llama-0.3m', dtype: bfloat16}"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    suite = write(folder, GATED_DPO.replace(" [builtin:ladder/neox-0.3m]", MODELS))
    done = bench("run", suite, "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder / "results"


def export(results, cell, to, *more):
    return bench("export", cell, "--to", to, "--results", results, *more)


@pytest.mark.parametrize(("model", "tolerance"), [("whole", 1e-3), ("adapted", 1e-3), ("half", 0.5)])
def test_log_probs_of_the_exported_folder_are_the_cells(results, tmp_path, model, tolerance):
    """half: its figures were computed in bfloat16, which transformers' plain float32 pass is not."""
    done = export(results, f"{model}/toolbox/dpo/seq/0", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "README.md", "gatebench.json"}
    assert "adapter_config.json" not in names
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").float().eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    (cell,) = (c for c in summary_of(run_folder(results.parent))["cells"] if c["model"] == model)
    probes = pandas.read_parquet(stage_folder(results, cell, "dynamics") / "probes.parquet")
    probes = probes[(probes["step"] == probes["step"].max()) & (probes["split"] == "test")]
    pairs, checked = load_toolbox(24, 8, 6).test, 0
    for kind in ("chosen", "rejected"):
        for prompt, log_prob in probes[probes["kind"] == kind].set_index("prompt")["log_prob"].items():
            ids = [*tokenizer(getattr(pairs[prompt], kind))["input_ids"], tokenizer.eos_token_id]
            own = response_log_prob(loaded, tokenizer(pairs[prompt].prompt)["input_ids"], ids)
            assert own == pytest.approx(log_prob, abs=tolerance)
            checked += 1
    assert checked == 12


def test_the_card_has_the_cells_figures_digests_and_limits(results, tmp_path):
    done = export(results, "adapted/toolbox/dpo/seq/0", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    facts = json.loads((tmp_path / "out/gatebench.json").read_text())
    metrics = facts["metrics"]
    shown = f"{metrics['delta_chosen']:.3f} [{metrics['delta_chosen_lo']:.2f}, {metrics['delta_chosen_hi']:.2f}]"
    assert f"| Δ chosen | nats a response | {shown} |" in card
    assert f"{metrics['test_margin']:.3f}" in card
    for words in (
        "library_name: transformers",
        "builtin:toolbox@",
        "builtin:ladder/neox-0.3m@",
        "adapter",
        '"kind": "seq"',
    ):
        assert words in card, words
    assert "not for use" in card
    assert facts["stages"]["train"]["spec"]["gate"]["kind"] == "seq"
    assert not any(str(results).encode() in file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert done.stdout.strip() == str(tmp_path / "out")


def test_no_place_of_the_machine_is_in_a_card():
    told = ["data set a: 3 rows were left out as bad; first: /home/me/a b/pairs.jsonl:4: an empty probe", "it is shut",
            "/home/me/x.jsonl:1: odd", "the model '/srv/m' is odd", "bfloat16/float32 differ"]  # fmt: skip
    made = {"base": {}, "train": {"cautions": told}, "dynamics": {"cautions": ["it is shut"]}}
    assert cautions_of(made) == ["data set a: 3 rows were left out as bad", "it is shut", "bfloat16/float32 differ"]


def test_of_steps_and_epochs_a_card_has_what_counted():
    both = {"loss": "dpo", "recipe": {"epochs": 5, "steps": 40}}
    assert applying(both) == {"loss": "dpo", "recipe": {"steps": 40}}
    assert applying({"recipe": {"epochs": 5, "steps": None}}) == {"recipe": {"epochs": 5}}
    assert applying({"recipe": {"epochs": 2}}) == {"recipe": {"epochs": 2}}
    assert both["recipe"]["epochs"] == 5


def test_mistakes_are_one_sentence_and_leave_nothing(results, tmp_path):
    cell = "whole/toolbox/dpo/seq/0"
    wrong = export(results, "whole/toolbox/dpo/sqe/0", tmp_path / "out")
    assert (wrong.returncode, "did you mean 'whole/toolbox/dpo/seq/0'?" in wrong.stderr) == (2, True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    taken = export(results, cell, tmp_path / "taken")
    assert (taken.returncode, "there is something already" in taken.stderr) == (2, True)
    other = export(results, cell, tmp_path / "out", "--run", "none")
    assert (other.returncode, "no run 'none'" in other.stderr) == (2, True)
    nowhere = export(tmp_path / "empty", cell, tmp_path / "out")
    assert nowhere.returncode == 2
    pushed = bench("export", cell, "--to", tmp_path / "out", "--results", results, "--push", "me/mine",
                   HF_HUB_OFFLINE="1")  # fmt: skip
    assert pushed.returncode == 2
    assert "me/mine: the hub does not take it (" in pushed.stderr
    assert (tmp_path / "out/model.safetensors").exists()  # what cannot be uploaded is kept
    for done in (wrong, taken, other, nowhere, pushed):
        assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "out"}
