"""`bench tune` for real: studies on sqlite and PostgreSQL, several processes, killed workers, the winner's suite."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers import DPO, GOOD, bench, stage_folder, start_bench, summary_of, wait_for, write
from tests.s3_server import BUCKET

pytestmark = pytest.mark.slow
SUITE = DPO.replace("steps: 4", "steps: 20").replace("probes: 6", "probes: 12")
SUITE = (
    SUITE.replace("evaluate_every: 2", "evaluate_every: 20") + "tune: {trials: 8, subject_to: {accuracy: '>= 0.2'}}\n"
)


def studies(storage):
    """{study: its trials}"""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in names}


def check(storage, budget):
    """The one study has its budget, to the trial, and no numbers were trained twice."""
    (trials,) = studies(storage).values()
    done = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(done) == budget
    left = [trial for trial in trials if trial not in done]
    # what is left failed: asked for beyond the budget, or its worker was killed and it was asked again
    assert {trial.state.name for trial in left} <= {"FAIL"}
    own = [json.dumps(trial.user_attrs["parameters"]) for trial in done if "same_as" not in trial.user_attrs]
    assert len(set(own)) == len(own)
    return trials


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    done = bench("tune", write(folder, SUITE), "--results", folder / "results", "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_the_study_has_its_budget_and_says_what_it_cost(tuned):
    folder, found, said = tuned
    trials = check(f"sqlite:///{folder / 'results/studies.db'}", 8)
    (study,) = found["studies"]
    assert study["counts"]["complete"] + study["counts"]["pruned"] == 8
    assert study["best"]["parameters"] == trials[study["best"]["number"]].user_attrs["parameters"]
    assert study["best"]["number"] in [number for number, _, _ in study["front"]]
    assert "trials 0/8" in said


def test_the_winner_is_judged_on_probes_that_no_trial_saw(tuned):
    folder, found, _ = tuned
    summary = summary_of(Path(found["run"]))
    assert [cell["status"] for cell in summary["cells"]] == ["finished"] * 3  # none, seq, tuned
    assert summary["tuned_on"] == 6
    assert {claim["verdict"] for claim in summary["claims"]} <= {"supported", "refuted", "undecided"}
    assert len(summary["claims"]) == 4  # two rivals, two metrics
    import pandas

    from gatebench.bench.metrics.dynamics import probe_deltas

    (cell,) = [cell for cell in summary["cells"] if cell["gate"] == "tuned"]
    frame = pandas.read_parquet(stage_folder(folder / "results", cell, "dynamics") / "probes.parquet")
    deltas = probe_deltas(frame, 20)
    train = deltas[deltas["split"] == "train"]
    unseen, seen = (train[keep]["delta_chosen"].mean() for keep in (train["prompt"] >= 6, train["prompt"] < 6))
    assert cell["metrics"]["delta_chosen"] == pytest.approx(unseen)
    # the trial itself was judged on the others, by the same model: its train stage is shared
    best = found["studies"][0]["best"]
    assert best["metrics"]["delta_chosen"] == pytest.approx(seen, abs=1e-4)


def test_the_winners_suite_runs_by_itself_and_repeats_nothing(tuned):
    folder, found, _ = tuned
    again = bench("run", folder / found["best"], "--results", folder / "results", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "0 stages run" in again.stderr
    assert "Tuning the gate" in (Path(found["run"]) / "report.html").read_text()


def test_a_study_is_gone_on_with_only_when_asked_to(tuned, tmp_path):
    folder, _, _ = tuned
    shutil.copytree(folder / "results", tmp_path / "results")
    suite = write(tmp_path, SUITE)
    refused = bench("tune", suite, "--results", tmp_path / "results")
    assert refused.returncode == 2
    assert "add --resume to go on with it" in refused.stderr
    assert "Traceback" not in refused.stderr
    (weights,) = (tmp_path / "results/store/warmup").glob("*/model/model.safetensors")
    right, stat = weights.read_bytes(), weights.stat()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))  # as a disk does it, which leaves the time
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done = bench("tune", suite, "--results", tmp_path / "results", "--resume", "--set", "tune.trials=10")
    assert done.returncode == 0, done.stderr
    assert "is not what its manifest says" in done.stderr
    assert weights.read_bytes() == right
    trials = check(f"sqlite:///{tmp_path / 'results/studies.db'}", 10)
    assert [t.params for t in trials[:8]] == [
        t.params for t in studies(f"sqlite:///{folder}/results/studies.db").popitem()[1][:8]
    ]


@pytest.mark.s3
def test_behind_a_url_another_machine_has_the_study_and_the_winners_run_without_training(tuned, s3_server, tmp_path):
    url, storage = f"s3://{BUCKET}/tune-{os.getpid()}", f"sqlite:///{tmp_path / 'studies.db'}"
    suite = write(tmp_path, SUITE.replace("trials: 8,", f"trials: 3, storage: '{storage}',"))
    found = []
    for machine, more in (("one", ()), ("two", ("--resume",))):
        done = bench("tune", suite, "--results", url, "--json", *more, GATEBENCH_CACHE=str(tmp_path / machine),
                     **s3_server.environment)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    one, two = found
    made = [list((tmp_path / machine).rglob("log.jsonl")) for machine in ("one", "two")]
    assert any('"finished"' in log.read_text() for log in made[0])
    assert not any('"started"' in log.read_text() for log in made[1])
    check(storage, 3)
    assert one["studies"][0]["best"] == two["studies"][0]["best"]
    runs = [Path(own["run"]) for own in (one, two, tuned[1])]
    there, elsewhere, here = ({c["gate"]: c["metrics"] for c in summary_of(run)["cells"]} for run in runs)
    assert there == elsewhere
    assert {there[gate] == here[gate] for gate in ("none", "seq")} == {True}  # which trials there are, timing decides


def test_answers_are_tuned_for_and_change_no_training(tmp_path):
    """Samples are drawn at rungs, amid a training that goes on as the same cell's of another store does."""
    own = "  generate: {backend: transformers, samples: 3, temperature: 1.0, prompts: 8, max_tokens: 16}\n"
    text = SUITE.replace("evaluate:\n", f"evaluate:\n{own}").replace(
        "trials: 8", "trials: 2, maximize: [generation_distinct_answers, generation_pass_rate]"
    )
    done = bench("tune", write(tmp_path, text), "--results", tmp_path / "results", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (study,) = found["studies"]
    assert 1 <= study["best"]["metrics"]["generation_distinct_answers"] <= 3
    summary = summary_of(Path(found["run"]))
    assert {claim["metric"] for claim in summary["claims"]} == {"generation_distinct_answers", "generation_pass_rate"}
    again = bench("run", tmp_path / found["best"], "--results", tmp_path / "other")
    assert again.returncode == 0, again.stderr
    (other,) = (tmp_path / "other/runs/good_best").iterdir()
    cells = {cell["gate"]: cell["metrics"] for cell in summary["cells"]}
    assert {cell["gate"]: cell["metrics"] for cell in summary_of(other)["cells"]} == cells
    assert cells["tuned"]["generation_distinct_answers"] >= 1


def test_every_trial_is_a_nested_run(tuned):
    from mlflow.tracking import MlflowClient

    folder, found, _ = tuned
    client = MlflowClient(f"sqlite:///{folder / 'results/mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("good").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 8
    best = found["studies"][0]["best"]
    assert parent.data.tags["best_trial"] == str(best["number"])
    (run,) = [run for run in children if run.data.tags["gatebench.trial"] == str(best["number"])]
    assert run.data.metrics["delta_chosen"] == pytest.approx(best["metrics"]["delta_chosen"])
    assert float(run.data.params["kappa"]) == best["parameters"]["kappa"]


def test_a_suite_without_the_block_and_a_storage_that_is_none(tmp_path):
    done = bench("tune", write(tmp_path, GOOD), "--results", tmp_path / "results")
    assert done.returncode == 2
    assert "no tune block" in done.stderr
    text = SUITE.replace("tune: {", "tune: {storage: 'postgresql://nobody:secret@127.0.0.1:1/none', ")
    done = bench("tune", write(tmp_path, text), "--results", tmp_path / "results")
    assert done.returncode == 2
    assert "tune.storage" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    shared = f"sqlite:///{tmp_path}/both.db"
    text = SUITE.replace("tune: {", f"tune: {{storage: '{shared}', ")
    done = bench("tune", write(tmp_path, text), "--results", tmp_path / "results", MLFLOW_TRACKING_URI=shared)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tune.storage: {shared} is MLflow's database"), done.stderr
    assert not Path(tmp_path / "both.db").exists()


def children_of(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    named = [(int(p), Path(f"/proc/{p}/cmdline").read_bytes()) for p in found if Path(f"/proc/{p}").exists()]
    return [p for p, command in named if b"spawn_main" in command]


def start(suite, results, *more):
    """`bench tune` with one worker that tracks into its own results."""
    uri = f"sqlite:///{results}/mlflow.db"
    return start_bench("tune", suite, "--results", results, "--workers", 1, *more, MLFLOW_TRACKING_URI=uri)


def two_processes_and_a_killed_worker(tmp_path, storage):
    """Two `bench tune` share the study; a worker of the first is killed while it runs a trial."""
    text = SUITE.replace("trials: 8", "trials: 10").replace("tune: {", f"tune: {{storage: '{storage}', ")
    suite, results = write(tmp_path, text), tmp_path / "results"
    first = start(suite, results)
    wait_for(lambda: is_running(storage), "running trial", pause=0.5)
    second = start(suite, results, "--resume")
    workers = children_of(first.pid)
    assert workers, "the first process has no worker"
    os.kill(workers[0], signal.SIGKILL)
    for process in (first, second):
        said = process.communicate(timeout=600)[1]
        assert process.returncode == 0, said
    trials = check(storage, 10)
    killed = [trial for trial in trials if trial.state.name == "FAIL" and "surplus" not in trial.user_attrs]
    assert len(killed) == 1
    again = [trial for trial in trials if trial.system_attrs.get("failed_trial") == killed[0].number]
    assert len(again) == 1
    assert again[0].params == killed[0].params


def is_running(storage):
    """Whether a trial runs that has its numbers already: one killed before it drew them is asked again with others."""
    try:
        trials = [trial for trials in studies(storage).values() for trial in trials]
        return any(trial.state.name == "RUNNING" and "parameters" in trial.user_attrs for trial in trials)
    except Exception:  # the database is not made yet
        return False


def test_two_processes_and_a_killed_worker_on_sqlite(tmp_path):
    two_processes_and_a_killed_worker(tmp_path, f"sqlite:///{tmp_path}/study.db")


@pytest.mark.postgres
def test_two_processes_and_a_killed_worker_on_postgresql(tmp_path, postgres):
    two_processes_and_a_killed_worker(tmp_path, postgres)
