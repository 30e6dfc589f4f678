"""Answers and tasks for real: transformers, vLLM where it is installed, lm-eval beside its own command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from tests.bench.engines.failing import unserved
from tests.helpers import (
    DPO,
    GOOD,
    Ran,
    bench,
    judge_server,
    run_folder,
    stage_folder,
    start_bench,
    summary_of,
    wait_for,
    write,
)

pytestmark = pytest.mark.slow
SUITE = DPO.replace("test: 8", "test: 100")
TASK = """task: toolbox_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def suite(backend, model="neox-0.3m", prompts=10):
    """A suite of two cells whose policies answer."""
    asked = f"  generate: {{backend: {backend}, prompts: {prompts}, max_tokens: 12}}\n"
    return SUITE.replace("neox-0.3m", model) + asked


def tasks(folder):
    """A local task of lm-eval's own format."""
    folder.mkdir()
    data = folder / "questions.jsonl"
    rows = [
        {"q": f"Question: What is {i} plus 2?\nAnswer:", "choices": [f" It is {i + 2}.", f" It is {i}."]}
        for i in range(20)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text(TASK.format(data=data))


def cells_of(folder):
    return summary_of(run_folder(folder))["cells"]


def answers(folder, cell):
    return pandas.read_parquet(stage_folder(folder / "results", cell, "generate") / "generations.parquet")


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> Ran:
    """The suite with answers by transformers and a local task of lm-eval, run once."""
    folder = tmp_path_factory.mktemp("answered")
    tasks(folder / "tasks")
    own = "include_path: tasks, confirm_run_unsafe_code: true"
    text = suite("transformers") + f"  lm_eval: {{tasks: [toolbox_choice], {own}}}\n"
    done = bench("run", write(folder, text), "--results", folder / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return Ran(folder, done.stdout, done.stderr)


def test_answers_by_transformers_have_their_metrics(answered):
    for cell in cells_of(answered.folder):
        found = cell["metrics"]
        assert 0 <= found["generation_pass_rate"] <= 1
        assert found["generation_tokens_lo"] <= found["generation_tokens"] <= found["generation_tokens_hi"]
        frame = answers(answered.folder, cell)
        assert len(frame) == 10
        assert set(frame["finish_reason"]) <= {"stop", "length"}
        assert (frame["log_prob"] <= 0).all()


def test_answers_are_shown_side_by_side(answered):
    suite_file, *results = answered.folder / "suite.yaml", "--results", answered.folder / "results"
    shown = bench("samples", suite_file, 3, *results, "--json")
    found = json.loads(shown.stdout)
    assert [answer["who"].split("/")[-1] for answer in found["answers"]] == ["sft warm-up", "0", "0"]
    first = answers(answered.folder, cells_of(answered.folder)[0]).set_index("prompt")
    assert found["answers"][1]["response"] == first.loc[3, "response"]
    refused = bench("samples", suite_file, 99, *results)
    assert refused.returncode == 2
    assert "prompt 99: not asked; expected a number below 10" in refused.stderr


def test_a_task_has_the_numbers_of_lm_evals_own_command_line(answered, tmp_path):
    (cell, *_) = cells_of(answered.folder)
    model = stage_folder(answered.folder / "results", cell, "train") / "model"
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32",
        "--tasks", "toolbox_choice", "--include_path", answered.folder / "tasks", "--output_path", tmp_path / "cli",
        "--device", "cpu", "--batch_size", "16",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    (file,) = (tmp_path / "cli").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]["toolbox_choice"]
    for metric in ("acc", "acc_norm"):
        name = f"lm_eval/toolbox_choice/{metric}"
        assert cell["metrics"][name] == theirs[f"{metric},none"]
        half = (cell["metrics"][f"{name}_hi"] - cell["metrics"][f"{name}_lo"]) / 2
        assert half == pytest.approx(1.96 * theirs[f"{metric}_stderr,none"], rel=1e-3)


def test_an_unknown_task_fails_its_stage_and_keeps_the_rest(answered, tmp_path):
    answered.copy_store(tmp_path)
    text = suite("transformers").replace("gates: [none, {", "gates: [{") + "  lm_eval: {tasks: [no_such_task]}\n"
    done = bench("run", write(tmp_path, text), "--results", tmp_path / "results")
    assert done.returncode == 1
    assert "lm-eval knows no task 'no_such_task'" in done.stderr
    assert "Traceback" not in done.stderr
    for cell in cells_of(tmp_path):
        assert cell["status"] == "finished"
        assert "no_such_task" in cell["reason"]
        assert "delta_chosen" in cell["metrics"]


def test_a_judge_compares_each_cell_with_its_warm_up_and_its_ungated_twin(answered, tmp_path):
    answered.copy_store(tmp_path)
    done = bench("run", write(tmp_path, suite("transformers") + "  judge: exact\n"), "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "wins v. ungated" in done.stdout
    ungated, gated = cells_of(tmp_path)
    passed = {cell["gate"]: answers(tmp_path, cell).set_index("prompt")["passed"].astype(float)
              for cell in (ungated, gated)}  # fmt: skip
    wins = (passed["seq"] - passed["none"] + 1) / 2
    assert gated["metrics"]["judge_vs_ungated_win_rate"] == pytest.approx(wins.mean())
    assert gated["metrics"]["judge_vs_ungated_missing"] == 0
    assert "judge_vs_warmup_win_rate_lc" in ungated["metrics"]
    assert "judge_vs_ungated_win_rate" not in ungated["metrics"]


def test_a_judge_that_fails_is_recorded_and_the_suite_goes_on(answered, tmp_path):
    answered.copy_store(tmp_path)

    def reply(question):
        return "[[A]]" if question.count("1") % 2 else "I would rather not say."

    arguments = ["--results", tmp_path / "results"]
    with judge_server(reply) as server:
        text = suite("transformers") + f"  judge: {{kind: endpoint, model: any, url: '{server.url}'}}\n"
        file = write(tmp_path, text)
        done = bench("run", file, *arguments, OPENAI_API_KEY="a-secret-of-ours")
    assert done.returncode == 0, done.stderr
    assert {key for _, key, _ in server.requests} == {"Bearer a-secret-of-ours"}
    assert "comparisons have no verdict, most often: no verdict in 'I would rather not say.'" in done.stderr
    for cell in cells_of(tmp_path):
        assert 0 < cell["metrics"]["judge_vs_warmup_missing"] < 1
        assert cell["metrics"]["judge_vs_warmup_win_rate"] == 0.5  # who always prefers the first prefers nobody
        assert cell["metrics"]["judge_vs_warmup_inconsistent"] == 1
    page = (run_folder(tmp_path) / "report.html").read_text()
    assert "comparisons have no verdict" in page
    kept = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"a-secret-of-ours" in path.read_bytes()]
    down = bench("run", write(tmp_path, text.replace("model: any", "model: other")), *arguments)
    assert down.returncode == 1
    assert "of 10 comparisons have no verdict, most often: n" in down.stderr
    assert "Traceback" not in down.stderr
    summaries = [summary_of(file.parent) for file in (tmp_path / "results/runs/good").glob("*/summary.json")]
    (summary,) = [found for found in summaries if any(cell["reason"] for cell in found["cells"])]
    assert all(cell["status"] == "finished" and "judge" in cell["reason"] for cell in summary["cells"])


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [("exakt", "unknown judge 'exakt'; did you mean 'exact'?"),
     ("{kind: endpoint, model: any}", "a judge of kind endpoint needs url and model; url is missing"),
     ("{kind: endpoint, model: any, url: localhost}", "url 'localhost' is no address; expected http://HOST:PORT/v1"),
     ("{kind: reward_model, model: ./nowhere}", "evaluate.judge.model: './nowhere' does not exist")],
)  # fmt: skip
def test_a_judge_that_cannot_judge_is_refused(tmp_path, judge, sentence):
    done = bench("plan", write(tmp_path, suite("transformers") + f"  judge: {judge}\n"))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_judge_without_answers_is_refused(tmp_path):
    done = bench("plan", write(tmp_path, GOOD + "  judge: exact\n"))
    assert done.returncode == 2
    assert "judge compares answers; give the suite evaluate.generate as well" in done.stderr


@pytest.mark.vllm
@pytest.mark.parametrize("family", ["neox", "llama"])
def test_vllm_gives_the_tokens_of_transformers_also_after_its_weights_were_swapped(tmp_path, family):
    found = {}
    for backend in ("vllm", "transformers"):
        folder = tmp_path / backend
        folder.mkdir()
        file = write(folder, suite(backend, f"{family}-1.3m", 100))
        done = bench("run", file, "--results", folder / "results", "--workers", 1)
        assert done.returncode == 0, done.stderr
        found[backend] = [answers(folder, cell) for cell in cells_of(folder)]
        if backend == "vllm":
            engines = [cell["stages"]["generate"]["facts"] for cell in cells_of(folder)]
            assert all(facts["backend"].startswith("vllm") for facts in engines), engines
            assert [facts["engine"] for facts in engines] == ["swapped"] * len(engines)  # the reference's own was first
    for ours, theirs in zip(found["vllm"], found["transformers"], strict=True):
        same = [list(a) == list(b) for a, b in zip(ours["ids"], theirs["ids"], strict=True)]
        assert sum(same) >= 99
        assert ours["log_prob"].to_numpy() == pytest.approx(theirs["log_prob"].to_numpy(), abs=0.05)


@pytest.mark.vllm
def test_tasks_through_the_engine_give_what_lm_evals_own_backend_gives(tmp_path):
    found = {}
    for backend in ("vllm", "transformers"):
        folder = tmp_path / backend
        folder.mkdir()
        text = suite(backend, "neox-1.3m") + "  lm_eval: {tasks: [toolbox_choice, toolbox_answer], limit: 40}\n"
        done = bench("run", write(folder, text), "--results", folder / "results", "--workers", 1)
        assert done.returncode == 0, done.stderr
        found[backend] = cells_of(folder)
    for ours, theirs in zip(found["vllm"], found["transformers"], strict=True):
        facts = ours["stages"]["lm_eval"]["facts"]
        assert facts["backend"].startswith("vllm")
        assert facts["engine"] in ("restarted", "swapped")
        assert theirs["stages"]["lm_eval"]["facts"]["backend"] == "hf"
        for metric in ("toolbox_choice/acc", "toolbox_choice/acc_norm", "toolbox_answer/exact_match"):
            assert ours["metrics"][f"lm_eval/{metric}"] == theirs["metrics"][f"lm_eval/{metric}"]


@pytest.mark.vllm
def test_a_model_that_vllm_does_not_serve_is_said_and_answered_by_transformers(tmp_path):
    model = unserved(tmp_path, 1)  # heads of 16: the processor build has no kernel for them
    text = suite("vllm").replace("builtin:ladder/neox-0.3m", str(model))
    done = bench("run", write(tmp_path, text), "--results", tmp_path / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was not served by vLLM") == 1  # of several stages that asked
    assert {cell["stages"]["generate"]["facts"]["backend"] for cell in cells_of(tmp_path)} == {"transformers"}


@pytest.mark.vllm
def test_vllm_never_outlives_the_run(tmp_path):
    file = write(tmp_path, suite("vllm", "neox-1.3m"))
    process = start_bench("run", file, "--results", tmp_path / "results", stderr=subprocess.DEVNULL)

    def servers():
        found = subprocess.run(
            ["pgrep", "-f", "gatebench.bench.engines.vllm_server"], capture_output=True, text=True, check=False
        )
        own = [p for p in found.stdout.split() if Path(f"/proc/{p}").exists()]
        return [p for p in own if f"{os.getsid(int(p))}" == str(process.pid)]

    wait_for(servers, "server of vLLM", pause=0.5)
    process.kill()
    process.wait()
    wait_for(lambda: not servers(), "end of the server", seconds=30)
