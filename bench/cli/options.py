"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatebench.bench.shipped import DATA_VARIABLE, suite_file

SuiteFile = Annotated[
    Path, typer.Argument(help="A suite file (YAML), or the name of a shipped one.", metavar="SUITE", parser=suite_file)
]
Profile = Annotated[str | None, typer.Option(help="A named overlay of the suite file.")]
Results = Annotated[Path, typer.Option(help="Where the store, the runs and the MLflow database are.")]
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
DEFAULT_RESULTS = Path("results")
