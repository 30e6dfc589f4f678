"""A small suite through every stage: real training, store, MLflow on sqlite, report; run again; one thing changed."""

import json
import time

import pytest

from tests.conftest import FAMILIES
from tests.helpers import GATED_DPO, GOOD, bench, manifests, run_folder, stage_folder, summary_of, write

pytestmark = pytest.mark.slow
CELLS = 4
STAGES = {"base": 1, "warmup": 2, "reference": 2, "train": 4, "dynamics": 6}


def stages_in_store(folder):
    return {kind: len(list((folder / "results/store" / kind).iterdir())) for kind in STAGES}


def test_every_cell_has_its_metrics(good_run):
    summary = summary_of(good_run.run)
    assert [cell["status"] for cell in summary["cells"]] == ["finished"] * CELLS
    for cell in summary["cells"]:
        for name in ("delta_chosen", "delta_rejected", "margin", "delta_others", "delta_argmax", "accuracy"):
            assert {name, f"test_{name}"} <= cell["metrics"].keys()
        metrics = cell["metrics"]
        assert metrics["margin"] == pytest.approx(metrics["delta_chosen"] - metrics["delta_rejected"])
    assert stages_in_store(good_run.folder) == STAGES
    assert "Δ chosen" in good_run.stdout
    assert "extended_sft" in good_run.stdout
    assert "report.html" in good_run.stderr
    assert "mlflow.db" in good_run.stderr
    assert list((good_run.folder / "results/store/.partial").iterdir()) == []


def test_ungated_and_gated_cells_start_alike_and_end_apart(good_run):
    cells = summary_of(good_run.run)["cells"]
    dpo = {cell["gate"]: cell["metrics"]["delta_chosen"] for cell in cells if cell["objective"] == "dpo"}
    assert dpo["none"] != dpo["seq"]


def test_the_probes_of_every_checkpoint_are_kept(good_run):
    import pandas

    cell = summary_of(good_run.run)["cells"][0]
    frame = pandas.read_parquet(stage_folder(good_run.folder / "results", cell, "dynamics") / "probes.parquet")
    assert sorted(frame["step"].unique()) == [0, 2, 4]
    assert set(frame["split"]) == {"train", "test"}
    kinds = set(frame["kind"])
    assert len([kind for kind in kinds if not kind.startswith("other_")]) == 11
    assert len([kind for kind in kinds if kind.startswith("other_")]) == 12  # the toolbox's further answers
    chosen = frame[frame["kind"] == "chosen"]
    assert (chosen["argmax"] >= chosen["log_prob"] - 1e-6).all()
    masses = chosen[["mass_target", "mass_top1", "mass_rest"]]
    assert masses.sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert (masses >= -1e-6).all().all()
    assert (chosen[chosen["step"] == 0]["kl"].abs() < 1e-6).all()
    assert (chosen[chosen["step"] == 4]["kl"] > 0).all()


def test_a_second_run_repeats_no_stage_and_says_so(good_run):
    before = {path: path.stat().st_mtime_ns for path in manifests(good_run.folder / "results")}
    started = time.monotonic()
    again = bench("run", good_run.folder / "suite.yaml", "--results", good_run.folder / "results", "--json")
    assert again.returncode == 0, again.stderr
    assert "0 stages run, 15 already finished" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in manifests(good_run.folder / "results")} == before
    assert json.loads(again.stdout)["cells"][0]["status"] == "finished"
    assert time.monotonic() - started < 60


def test_moving_the_suite_and_its_results_repeats_nothing(good_run, tmp_path):
    good_run.copy_store(tmp_path)
    plan = bench("plan", write(tmp_path, GOOD), "--results", tmp_path / "results", "--json")
    assert all(stage["finished"] for stage in json.loads(plan.stdout)["stages"].values())


def test_a_changed_gate_runs_only_its_own_train_and_dynamics(good_run, tmp_path):
    good_run.copy_store(tmp_path)
    suite = write(tmp_path, GOOD.replace("alpha: 50", "alpha: 60"))
    plan = json.loads(bench("plan", suite, "--results", tmp_path / "results", "--json").stdout)
    would_run = [stage["kind"] for stage in plan["stages"].values() if not stage["finished"]]
    assert sorted(would_run) == ["dynamics", "dynamics", "train", "train"]
    done = bench("run", suite, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "4 stages run, 11 already finished" in done.stderr


def test_the_same_suite_elsewhere_gives_the_same_bits(good_run, tmp_path):
    done = bench("run", write(tmp_path, GOOD), "--results", tmp_path / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    one, two = summary_of(good_run.run), summary_of(run_folder(tmp_path))
    assert one["run_id"] == two["run_id"]
    assert [cell["metrics"] for cell in one["cells"]] == [cell["metrics"] for cell in two["cells"]]


def test_mlflow_has_a_parent_run_and_a_nested_run_a_cell(good_run):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{good_run.folder / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("good")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1  # also after the second run
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == CELLS
    for run in children:
        assert {"model", "dataset", "objective", "loss", "warmup", "gate", "seed"} <= run.data.tags.keys()
        assert 5 <= len(run.data.params) < 25  # what tells the cell apart; what all share stands once, at the parent
        assert "recipe.learning_rate" not in run.data.params
        assert run.data.params["objective"] == run.data.tags["objective"]
        if run.data.tags["gate"] == "seq":
            assert float(run.data.params["alpha"]) == 50
            assert 0 < float(run.data.params["tau"]) < 1  # as measured, where the suite says q50
        assert 1000 < run.info.end_time - run.info.start_time < 600_000  # the training's own time
        curve = client.get_metric_history(run.info.run_id, "dynamics/delta_chosen")
        assert [point.step for point in curve] == [2, 4]
        assert curve[-1].value == pytest.approx(run.data.metrics["probes/delta_chosen"])
    assert parents[0].data.params["recipe.learning_rate"] == "0.001"
    assert "the gate raises it" in parents[0].data.tags["mlflow.note.content"]
    assert {file.path for file in client.list_artifacts(parents[0].info.run_id)} >= {"summary.json", "report.html"}


def test_every_figure_has_its_interval_in_the_summary_and_in_mlflow(good_run):
    from mlflow.tracking import MlflowClient

    summary = summary_of(good_run.run)
    client = MlflowClient(f"sqlite:///{good_run.folder / 'results/mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("good").experiment_id])
    tracked = {run.data.tags["mlflow.runName"]: run.data.metrics for run in runs}
    for cell in summary["cells"]:
        names = [name for name in cell["metrics"] if not name.endswith(("_lo", "_hi"))]
        assert {"delta_chosen", "delta_others", "kl", "test_margin", "answers_other_answers"} <= set(names)
        for name in names:
            lo, value, hi = (cell["metrics"][name + end] for end in ("_lo", "", "_hi"))
            assert lo <= value <= hi
            assert tracked[cell["id"]][f"intervals/{name}_lo"] == pytest.approx(lo)
            assert tracked[cell["id"]][f"intervals/{name}_hi"] == pytest.approx(hi)
    assert all("delta_chosen_lo" in group["metrics"] for group in summary["groups"])


def test_the_verdicts_are_printed_last_and_kept(good_run):
    summary = summary_of(good_run.run)
    for claim in summary["claims"]:
        assert claim["verdict"] in ("supported", "refuted", "undecided")
        assert claim["name"] in good_run.stdout.split("claims")[-1]
    assert summary["claims"]


def test_the_report_holds_every_cell_and_needs_no_network(good_run):
    html = (good_run.run / "report.html").read_text()
    assert "http://" not in html
    assert html.count('<div class="figure"') >= 4
    assert html.count("<tr>") >= CELLS
    assert len(html) < 5_000_000


def test_a_cell_that_diverges_fails_alone_with_its_step(good_run, tmp_path):
    good_run.copy_store(tmp_path)
    text = GOOD + "overrides: [{where: {objective: dpo, gate: seq}, train: {learning_rate: 1e30}}]\n"
    done = bench("run", write(tmp_path, text), "--results", tmp_path / "results")
    assert done.returncode == 1
    summary = summary_of(run_folder(tmp_path))
    assert [cell["status"] for cell in summary["cells"]].count("finished") == CELLS - 1
    (failed,) = [cell for cell in summary["cells"] if cell["status"] == "failed"]
    assert "at step" in failed["reason"] or "after step" in failed["reason"]
    assert failed["metrics"] == {}
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def local_cells(tmp_path_factory, model_paths):
    """(results, the one cell of each model) of a suite of local folders: every architecture, LoRA, bfloat16."""
    folder = tmp_path_factory.mktemp("local")
    extra = {"llama": ", adapter: {kind: lora, r: 4}", "half": ", dtype: bfloat16"}
    paths = {**model_paths, "half": model_paths["neox"]}
    models = ", ".join(f"{{name: {name}, path: '{path}'{extra.get(name, '')}}}" for name, path in paths.items())
    text = GATED_DPO.replace("[builtin:ladder/neox-0.3m]", f"[{models}]")
    done = bench("run", write(folder, text), "--results", folder / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return folder / "results", {cell["model"]: cell for cell in summary_of(run_folder(folder))["cells"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_model_folder_runs_in_every_architecture_and_with_lora(local_cells, family):
    results, cells = local_cells
    assert cells[family]["metrics"]["kl"] > 0
    train = stage_folder(results, cells[family], "train")
    assert (train / "model" / "adapter_config.json").exists() == (family == "llama")


def test_bfloat16_is_what_is_computed_in_and_no_type_of_weights(local_cells):
    results, cells = local_cells
    assert cells["half"]["status"] == "finished"
    for kind, kept in (("warmup", "float32"), ("train", "bfloat16")):  # nothing is trained on from the last ones
        config = json.loads((stage_folder(results, cells["half"], kind) / "model" / "config.json").read_text())
        assert config["dtype"] == kept
        assert cells["half"]["stages"][kind]["facts"]["weights_changed"] > 0.5
        assert 0 < cells["half"]["stages"][kind]["facts"]["update"] < 1
