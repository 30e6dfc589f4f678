"""A toy stage, in one file: how many parameters the trained policy moved by more than `least`.

Besides it, a stage needs a line in `bench/stages/registry.py` (tests set `MODULES`) and its place in a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.metrics.metric import SHARE, Source, Variant, metric
from gatebench.bench.stages.stage import FORWARD, Amount, Facts, Inputs, Report, Stage

if TYPE_CHECKING:
    import pandas

KIND = "toy_moved"
TABLE = "moved.parquet"


@dataclass(frozen=True)
class Spec:
    least: float = 1e-6
    rows: int = 8


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    import pandas
    from safetensors.torch import load_file

    before, after = (load_file(inputs[role] / "model/model.safetensors") for role in ("policy", "train"))
    shares = [float(((before[name] - after[name]).abs() > spec.least).float().mean()) for name in sorted(before)]
    report(1.0, "weights compared")
    pandas.DataFrame({"prompt": range(spec.rows), "share": shares[: spec.rows]}).to_parquet(out / TABLE)
    return {"tokens": 0, "compared": len(shares)}


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    return Amount(spec.rows, 1, FORWARD, 1, 1, 0)


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, rows=min(spec.rows, steps))


MOVED: Source[pandas.DataFrame] = Source(KIND, (("moved", Variant("moved_")),))


@metric(MOVED, title="share of weights moved", unit=SHARE)
def share(table: pandas.DataFrame) -> pandas.Series[float]:
    return table.set_index("prompt")["share"]


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    import pandas

    found = MOVED.table(pandas.read_parquet(folder / TABLE))
    return found.rename_axis("prompt").reset_index().assign(split="moved")


STAGE = Stage(KIND, 1, Spec, run, amount, facts=("compared",), shorten=shorten, by_prompt=by_prompt)
