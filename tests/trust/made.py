"""A small finished suite with every kind of stage, and what is asked of it after something befell its files."""

from __future__ import annotations

import shutil
from pathlib import Path

from gatebench.bench.analysis.summary import Summary
from gatebench.bench.run.prepare import prepare
from gatebench.bench.run.suite_run import Prepared, results_of
from tests.helpers import CLAIM, DPO, bench, run_folder, summary_of, write

SUITE = DPO.replace("seeds: [0]", "seeds: [0, 1]") + (
    "  generate: {backend: transformers, prompts: 4, max_tokens: 4}\n  judge: exact\n" + CLAIM
)
FIGURES = ("cells", "claims", "groups", "gates", "scale")


def make(folder: Path) -> None:
    done = bench("run", write(folder, SUITE), "--results", folder / "results", MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr


def copied(finished: Path, folder: Path) -> Path:
    """The results of a finished suite in another folder, dates and all; their folder."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    return folder / "results"


def prepared(folder: Path) -> Prepared:
    return prepare(folder / "suite.yaml", None, folder / "results", None, None)


def read(folder: Path) -> Summary:
    """What a report would show."""
    return results_of(prepared(folder))


def figures(folder: Path) -> dict[str, object]:
    """The numbers of a run as they stand in its folder."""
    found = summary_of(run_folder(folder))
    for cell in found["cells"]:
        for stage in cell["stages"].values():  # how long one took is another each time it is made
            stage["seconds"] = 0
            stage["facts"].pop("remade", None)
    for claim in found["claims"]:
        claim["registered"] = 0
    return {name: found[name] for name in FIGURES}
