"""The command line: user mistakes end in one sentence and exit code 2, with nothing half-written."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gatebench.bench.cli import TELLING, app
from tests.helpers import GOOD, write


def bench(*arguments):
    command = [sys.executable, "-m", "gatebench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seeds: [0]", "seed: [0]", "did you mean 'seeds'?"),
        ("[dpo,", "[dop,", "did you mean 'dpo'?"),
        ("path: builtin:toolbox", "path: ./pairs.jsonl", "'./pairs.jsonl' does not exist; did you mean 'pears.jsonl'?"),
        ("path: builtin:toolbox", "path: ./empty.jsonl", "empty.jsonl: the data set is empty"),
        ("path: builtin:toolbox", "path: ./bad.jsonl", "bad.jsonl:1: no key 'rejected'; did you mean 'rejcted'?"),
        ("[builtin:ladder/neox-0.3m]", "[./modle]", "models.0.path: './modle' does not exist; did you mean 'model'?"),
        ("[builtin:ladder/neox-0.3m]", "[./model]", "holds no config.json"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(tmp_path, old, new, expected):
    (tmp_path / "pears.jsonl").write_text("x\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejcted": "c"}) + "\n")
    (tmp_path / "model").mkdir()
    done = bench("run", write(tmp_path, GOOD.replace(old, new)), "--results", tmp_path / "results")
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--only", "los=dpo"], "unknown axis 'los'; did you mean 'loss'?"),
        (["--only", "loss=nothing"], "no cell is left"),
        (["--set", "train.learning_rate"], "expected KEY=VALUE"),
        (["--set", "train.learning_rat=1"], "did you mean 'learning_rate'?"),
        (["--profile", "quick"], "the suite has none"),
    ],
)
def test_mistaken_options(tmp_path, arguments, expected):
    done = bench("plan", write(tmp_path, GOOD), "--results", tmp_path / "results", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr


def test_plan_lists_cells_and_stages(tmp_path):
    suite = write(tmp_path, GOOD)
    shown = bench("plan", suite, "--results", tmp_path / "results")
    assert shown.returncode == 0, shown.stderr
    assert "4 cells" in shown.stdout
    made = json.loads(
        bench("plan", suite, "--results", tmp_path / "results", "--json", "--only", "gate=seq,loss=dpo").stdout
    )
    assert len(made["cells"]) == 2
    assert {stage["kind"] for stage in made["stages"].values()} == {"base", "warmup", "reference", "train", "dynamics"}
    assert not (tmp_path / "results").exists()


def test_schema_is_json_schema():
    made = json.loads(bench("schema").stdout)
    assert {"models", "datasets", "objectives", "gates", "seeds"} <= made["properties"].keys()


def test_help_needs_no_heavy_library():
    heavy = ("torch", "transformers", "mlflow", "optuna", "plotly", "pandas", "numpy", "pydantic", "yaml")
    code = f"import sys, gatebench.bench.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", app.COMMANDS)
def test_the_example_of_a_command_is_shown_in_its_help_and_can_be_typed(command):
    example = app.COMMANDS[command][1]
    shown = CliRunner().invoke(app.app, [*command.split(), "--help"], terminal_width=200)
    assert f"Example: {example}" in " ".join(shown.output.split())
    words = shlex.split(example.partition(" >")[0])[1:]
    found = typer.main.get_command(app.app)
    while hasattr(found, "commands"):
        name, *words = words
        found = found.commands[name]
    assert command.endswith(name)
    found.make_context(name, words)  # raises for a word that the command does not know


def test_help_begins_with_what_runs_anywhere():
    shown = " ".join(CliRunner().invoke(app.app, ["--help"], terminal_width=200).output.split())
    assert "bench run scale_vs_gate --profile quick" in shown


def test_every_command_has_its_file():
    folder = Path(app.__file__).parent / "commands"
    files = [file.relative_to(folder).with_suffix("") for file in folder.rglob("*.py") if file.stem != "__init__"]
    assert {" ".join(file.parts) for file in files} == app.COMMANDS.keys()


@pytest.mark.parametrize("missing", TELLING)
def test_without_the_harness_one_sentence_says_so(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from gatebench.bench.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"bench: the harness is not installed (no {missing}); pip install 'gatebench[bench]'\n"
