"""Mass accounting on hand-made curves: means over seeds, rows that sum to 0, a panel a method."""

import pandas
import pytest

from gatebench.bench.analysis.summary import CellResult
from gatebench.dashboards.curves import bands
from gatebench.dashboards.mass_account import account, stacked


def cell(gate, seed):
    axes = {"model": "m", "dataset": "toolbox", "objective": "dpo", "loss": "dpo", "warmup": "sft"}
    return CellResult(f"{gate}-{seed}", **axes, gate=gate, seed=seed, status="finished")


def curves(rejected, argmax):
    frame = pandas.DataFrame(
        {"step": [5, 9], "flow_rejected": [rejected, 2 * rejected], "flow_argmax": [argmax, 2 * argmax],
         "flow_rest": [-rejected - argmax, -2 * (rejected + argmax)]}
    )  # fmt: skip
    return frame, pandas.DataFrame({"step": [5], "gate/mean": [0.5]})


CELLS = [cell("none", 0), cell("none", 1), cell("seq", 0)]
CURVES = {"none-0": curves(-0.4, 0.3), "none-1": curves(-0.2, 0.1), "seq-0": curves(-0.1, 0.0)}


def test_a_band_is_mean_and_range_over_seeds():
    found = bands(CELLS, CURVES, "flow_rejected")
    band = found["m", "toolbox", "dpo", "none"]
    assert (band.steps, band.seeds) == ([5, 9], 2)
    assert band.mean == pytest.approx([-0.3, -0.6])
    assert band.low == pytest.approx([-0.4, -0.8])
    assert band.high == pytest.approx([-0.2, -0.4])
    assert bands(CELLS, CURVES, "gate/mean", "training")["m", "toolbox", "dpo", "seq"].mean == [0.5]


def test_every_row_sums_to_0_and_an_account_without_data_is_empty():
    rows = account(CELLS, CURVES, "flow")
    assert [(row.point[3], row.step) for row in rows] == [("none", 5), ("none", 9), ("seq", 5), ("seq", 9)]
    for row in rows:
        assert sum(row.parts.values()) == pytest.approx(0)
    assert rows[1].parts["argmax"] == pytest.approx(0.4)
    assert account(CELLS, CURVES, "answers") == []


def test_a_panel_a_method_and_one_scale_a_line():
    figure = stacked(account(CELLS, CURVES, "flow"), "t")
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["dpo, gate none", "dpo, gate seq"]
    assert figure["layout"]["yaxis2"]["matches"] == "y"
    assert {trace["xaxis"] for trace in figure["data"]} == {"x", "x2"}
