"""Files damaged in every way: the next run ends with the same numbers, in sentences."""

import random
import shutil

import pytest

from tests.helpers import bench
from tests.trust.made import SUITE, copied, figures
from tests.trust.tally import LONG, count

pytestmark = pytest.mark.slow
DAMAGES = {
    "flip": lambda content: content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 4])
    + content[len(content) // 2 + 1 :],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "garbage": lambda content: random.Random(1).randbytes(len(content) + 10),
    "gone": None,
}  # fmt: skip
FILES = (  # below results; one of each kind
    "store/base/*/manifest.json", "store/base/*/model/model.safetensors", "store/base/*/model/config.json",
    "store/base/*/model/tokenizer.json", "store/warmup/*/model/model.safetensors", "store/warmup/*/manifest.json",
    "store/reference/*/reference.parquet", "store/train/*/curves.parquet", "store/train/*/model/model.safetensors",
    "store/train/*/probes.parquet", "store/dynamics/*/probes.parquet",
    "store/dynamics/*/manifest.json", "store/generate/*/generations.parquet", "store/judge/*/verdicts.parquet",
    "store/.calibration/*.json", "runs/good/*/summary.json", "runs/good/*/plan.json", "runs/good/*/cells.parquet",
    "runs/good/*/built.json", "runs/good/*/report.html", "runs/good/*/suite.yaml", "runs/good/*/log.jsonl",
    "runs/good/*/tracked.jsonl", "mlflow.db",
)  # fmt: skip
# what `make test` tries of them, the costly ones alternating
FEW = (
    ("store/base/*/manifest.json", "cut"), ("store/dynamics/*/probes.parquet", "flip"),
    ("store/generate/*/generations.parquet", "empty"), ("store/judge/*/verdicts.parquet", "garbage"),
    ("store/train/*/model/model.safetensors", "gone"), ("store/.calibration/*.json", "garbage"),
    ("runs/good/*/summary.json", "cut"), ("runs/good/*/built.json", "garbage"), ("runs/good/*/tracked.jsonl", "flip"),
    ("mlflow.db", "garbage"), ("runs/good/*/log.jsonl", "garbage"),
)  # fmt: skip
MANY = [(file, damage, "finished") for file in FILES for damage in DAMAGES]
MANY += [
    (file, damage, state) for file in FILES if file.startswith("store/") for damage in ("flip", "cut")
    for state in ("half", "killed")
]  # fmt: skip
CASES = MANY if LONG else [(*few, "finished") for few in FEW]


def put_into(results, state):
    """half: a cell lacks its training and what rests on it; killed: it lacks the marks that it ever came so far."""
    if state == "finished":
        return
    train = sorted((results / "store/train").iterdir())[0]
    for place in (train, *(results / "store/dynamics").iterdir(), *(results / "store/judge").iterdir()):
        if place == train or train.name in (place / "manifest.json").read_text():
            if state == "killed":
                (results / "store/.partial").mkdir(exist_ok=True)
                place.rename(results / f"store/.partial/{place.parent.name}-{place.name}")
            else:
                shutil.rmtree(place)


@pytest.mark.parametrize(("pattern", "damage", "state"), CASES)
def test_the_next_run_ends_with_the_same_numbers(finished, tmp_path, pattern, damage, state):
    results = copied(finished, tmp_path)
    put_into(results, state)
    file = sorted(results.glob(pattern))[0]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    done = bench("run", tmp_path / "suite.yaml", "--results", results, MLFLOW_TRACKING_URI="")
    traceback, lost = "Traceback" in done.stderr, done.returncode != 0
    wrong = not lost and figures(tmp_path) != figures(finished)
    count(f"corrupted files, {state}", tracebacks=traceback, lost=lost, wrong=wrong)
    assert not traceback, done.stderr
    assert not lost, done.stderr
    assert not wrong
    again = bench("run", tmp_path / "suite.yaml", "--results", results, MLFLOW_TRACKING_URI="")
    assert again.returncode == 0, again.stderr
    assert "\n0 stages run" in f"\n{again.stderr}"


def test_what_is_no_database_is_told_by_whoever_opens_it(finished, tmp_path):
    results = copied(finished, tmp_path)
    (tmp_path / "tune.yaml").write_text(SUITE + "tune: {trials: 2, maximize: delta_chosen}\n")
    for command, suite, name in (("ui", "suite.yaml", "mlflow.db"), ("tune", "tune.yaml", "studies.db")):
        (results / name).write_bytes(random.Random(2).randbytes(5000))
        done = bench(command, tmp_path / suite, "--results", results, MLFLOW_TRACKING_URI="")
        count("databases that are none", tracebacks="Traceback" in done.stderr)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "file is not a database" in done.stderr.splitlines()[-1]


def test_two_swapped_stages_swap_nothing(finished, tmp_path):
    results = copied(finished, tmp_path)
    for kind in ("dynamics", "judge"):
        one, two = sorted((results / "store" / kind).iterdir())[:2]
        one.rename(results / "aside")
        two.rename(one)
        (results / "aside").rename(two)
    done = bench("run", tmp_path / "suite.yaml", "--results", results, MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("it is made again") == 4
    assert figures(tmp_path) == figures(finished)
    count("swapped folders", 2)
