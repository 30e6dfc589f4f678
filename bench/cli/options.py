"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.shipped import DATA_VARIABLE, suite_file


def results_of_option(given: str | Path) -> Path:
    from gatebench.bench.store.shared import results_folder

    return results_folder(str(given))


SuiteFile = Annotated[
    Path, typer.Argument(help="A suite file (YAML), or the name of a shipped one.", metavar="SUITE", parser=suite_file)
]
Profile = Annotated[str | None, typer.Option(help="A named overlay of the suite file.")]
Results = Annotated[
    Path,
    typer.Option(
        help="Where the store and the runs are: a folder, or file:///shared/folder, s3://bucket/path ...",
        metavar="PLACE", parser=results_of_option,
    ),
]  # fmt: skip
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a key: train.learning_rate=1e-6.")]
Only = Annotated[str | None, typer.Option(help="Keep the cells that match: loss=dpo,gate=seq|none.")]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar=DATA_VARIABLE, exists=True, file_okay=False, help="Where local copies of hub data sets are."
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; one a GPU or core by default.")]
ExecutorName = Annotated[str, typer.Option(help="Where stages run: the name of an executor.")]
Address = Annotated[str | None, typer.Option(help="With --executor ray: the cluster's, as HOST:PORT or auto.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
StoreUrl = Annotated[
    str, typer.Argument(help="s3://bucket/path, another URL that fsspec knows, or a folder.", metavar="PLACE")
]
CarriedSuite = Annotated[
    str | None, typer.Option("--suite", help="Only the runs and stages of the suite of this name.")
]
WithWeights = Annotated[
    bool, typer.Option("--with-weights", help="Models as well, for stages that are still to be made from them.")
]
DEFAULT_RESULTS = Path("results")
