"""Task files of lm-eval run as code: not without the suite's word, and never unsaid."""

import json

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.plan.task_files import code_cautions
from gatebench.bench.run.prepare import prepare
from gatebench.bench.suite.reader import load_suite
from tests.helpers import DPO, bench, write

WORD = "confirm_run_unsafe_code: true"
WISH = "  lm_eval: {{tasks: [sums]{}}}\n"


@pytest.fixture
def planned(tmp_path):
    """Prepares a suite with files of tasks and options: files by name -> what it is prepared as."""

    def prepared(files, options):
        for name, text in files.items():
            (tmp_path / "tasks" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tasks" / name).write_text(text)
        suite = write(tmp_path, DPO + WISH.format(f", include_path: tasks{options}"))
        return prepare(suite, None, tmp_path / "results", None, None)

    return prepared


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a.yaml": "task: sums\n"}, "the templates of a task file can run code"),
        ({"a.yaml": "# !function is a comment\ntask: sums\n"}, "the templates of a task file can run code"),
        (
            {"a.yaml": "task: sums\n", "b/_base_yaml": "x: 1\ndoc_to_text: !function code.f\n", "b/code.py": "1 / 0"},
            "{folder}/b/_base_yaml:2 has !function, which runs Python of that folder",
        ),
    ],
)
def test_task_files_need_the_word(tmp_path, planned, files, why):
    with pytest.raises(UserError) as caught:
        planned(files, "")
    assert str(caught.value) == (
        f"{tmp_path}/suite.yaml: evaluate.lm_eval.include_path: {why.format(folder=tmp_path / 'tasks')}; read "
        f"its files, and if you trust them say so beside include_path with {WORD}"
    )
    with pytest.raises(UserError):
        planned(files, ", confirm_run_unsafe_code: false")
    number = sum("yaml" in name for name in files)
    (sentence,) = code_cautions(planned(files, f", {WORD}").sources)
    assert sentence == (
        f"evaluate.lm_eval.include_path: the task files of {tmp_path}/tasks run as code of yours "
        f"({number} file{'s' * (number > 1)}, {number - 1} with !function)"
    )


def test_the_plan_says_it_and_runs_nothing(tmp_path, planned):
    trap = f'task: sums\ndoc_to_text: !function trap.f\n{"x" * 10}: "{{{{ cycler.__init__.__globals__.os }}}}"\n'
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(d): pass\n"
    planned({"a.yaml": trap, "trap.py": code}, f", {WORD}")
    shown = bench("plan", tmp_path / "suite.yaml", "--results", tmp_path / "results", "--json")
    assert shown.returncode == 0, shown.stderr
    (sentence,) = json.loads(shown.stdout)["cautions"]
    assert "run as code of yours (1 file, 1 with !function)" in sentence
    assert not (tmp_path / "ran").exists()


def test_a_suite_without_task_files_of_its_own_needs_no_word(tmp_path):
    suite = write(tmp_path, DPO + WISH.format(""))
    assert code_cautions(prepare(suite, None, tmp_path / "results", None, None).sources) == []
    with pytest.raises(UserError, match="task files of include_path to run, and there is none; leave it out"):
        load_suite(write(tmp_path, DPO + WISH.format(f", {WORD}")))


def test_control_characters_of_a_file_name_reach_no_terminal(planned):
    with pytest.raises(UserError) as caught:
        planned({"\x1b[2J.yaml": "doc_to_text: !function code.f\n"}, "")
    assert "\x1b" not in str(caught.value)


def test_the_word_is_of_no_identity(tmp_path):
    """Neither a stage's nor a study's: one that was there before the word goes on."""
    suite = load_suite(write(tmp_path, DPO + WISH.format(f", include_path: tasks, {WORD}")))
    assert "confirm_run_unsafe_code" not in suite.evaluate.model_dump()["lm_eval"]
