"""Figures and tables for a paper: the numbers are those given, Optuna's own figures too, and what LaTeX would read as
its own words is text."""

import csv
import io
import re

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.claims import ClaimResult, ContrastResult
from gatebench.bench.analysis.summary import Summary
from gatebench.bench.analysis.table import Table, row, texts
from gatebench.bench.metrics.registry import measured_always
from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.figures import draw
from gatebench.dashboards import drawing, export, figures


def group(gate, mean):
    metrics = {
        f"{name}{end}": mean + add
        for name in measured_always()
        for end, add in (("", 0.0), ("_lo", -1.0), ("_hi", 1.0))
    }
    return Group("m_1", "toolbox", "dpo", gate, (0, 1), metrics)


GROUPS = (group("none", -3.0), group("a|b", 3.0))
SUMMARY = Summary("s", "run", (), groups=GROUPS)


def study():
    """Six trials of a gate's numbers: kappa, its threshold and a word."""
    found = optuna.create_study(directions=["maximize", "maximize"])
    space = {"kappa": FloatDistribution(1, 9), "percentile": FloatDistribution(0, 99),
             "kind": CategoricalDistribution(["seq", "tok"])}  # fmt: skip
    for number, (kappa, percentile) in enumerate([(1, 10), (2, 50), (3, 20), (5, 80), (7, 30), (9, 60)]):
        values = [kappa + 0.1 * percentile, 9 - kappa]
        found.add_trial(
            create_trial(
                params={"kappa": kappa, "percentile": percentile, "kind": ("seq", "tok")[number % 2]},
                distributions=space, values=values,
                user_attrs={"parameters": {}, "metrics": dict(zip(("delta_chosen", "margin"), values, strict=True))},
            )
        )  # fmt: skip
    return found


def test_the_figures_of_a_run_and_of_a_study_become_vector_files_with_their_numbers(tmp_path):
    shown = [{"title": "What the gate changes", "spec": figures.strip(SUMMARY)}, *draw(study(), Tune(), "gate")]
    export.write_exports(shown, SUMMARY, tmp_path)
    names = sorted(file.stem for file in tmp_path.glob("*.csv"))
    assert [name[:2] for name in names] == ["00", "01", "02", "03"]
    for name in names:
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
    mattered = list(csv.DictReader((tmp_path / f"{names[3]}.csv").open()))
    assert {row["y"] for row in mattered} == {"kappa", "percentile", "kind"}
    assert sum(float(row["x"]) for row in mattered) == pytest.approx(1, abs=1e-6)
    surface = [row for row in csv.DictReader((tmp_path / f"{names[2]}.csv").open()) if row["z"]]
    assert sorted(float(row["z"]) for row in surface) == pytest.approx([2, 5, 7, 10, 13, 15])


def test_a_point_has_its_interval_in_the_csv():
    rows = list(csv.DictReader(io.StringIO(export.as_csv(figures.strip(SUMMARY)))))
    [gated] = [row for row in rows if "a|b" in row["series"] and row["low"]]
    assert [float(gated[name]) for name in ("y", "low", "high")] == [3, 2, 4]


def test_tables_hold_half_the_interval_and_escape_what_would_be_read_as_markup():
    contrast = ContrastResult("a|b − none", 6.0, 5.0, 7.0, seeds=2, p_holm=0.012)
    claimed = Summary("s", "run", (), (ClaimResult("the gate & raises it", "delta_chosen", "greater", "supported",
                                                   (contrast,)),), GROUPS)  # fmt: skip
    tables = export.paper_tables(claimed)
    markdown, latex = ("\n".join(map(write, tables)) for write in (export.markdown, export.latex))
    assert r"| m_1 | toolbox | dpo | a\|b | 2 | **3.00 ± 1.00** | 3.00 ± 1.00 |" in markdown  # the best Δ chosen
    assert r"m\_1 & toolbox & dpo & a\textbar{}b & 2 & \textbf{3.00 $\pm$ 1.00} & 3.00 $\pm$ 1.00" in latex
    assert r"the gate \& raises it & supported" in latex
    assert "6.00 [5.00, 7.00] & 0.012" in latex


def test_a_name_ends_no_row_no_comment_and_opens_no_command():
    names = ("[2cm] \\input{x}", "*a*\nb", "<b>_c_</b> [d](e)")
    table = Table("t\n\\input{x}", texts("name", "what"), tuple(row(name, "x") for name in names), "one\nseed")
    *notes, body = export.latex(table).partition(r"\begin{tabular}")[::2]
    assert notes == ["% t \\input{x}\n% one seed\n"]
    assert r"{}[2cm] \textbackslash{}input\{x\} & x" in body
    assert "{}*a* b & x" in body
    assert r"\textless{}b\textgreater{}\_c\_" in body
    markdown = export.markdown(table).splitlines()
    assert markdown[0] == r"**t \\input{x}**"
    assert markdown[4:] == [
        r"| [2cm] \\input{x} | x |",
        r"| \*a\* b | x |",
        r"| \<b>\_c\_\</b> [d\](e) | x |",
        "",
        "one seed",
    ]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_single_scale_has_an_axis(tmp_path):
    point = {"type": "scatter", "name": "none", "mode": "lines+markers", "x": [134515008], "y": [1.0],
             "error_y": {"array": [0.5], "arrayminus": [0.5]}}  # fmt: skip
    drawing.draw_files({"data": [point, point], "layout": {"xaxis": {"type": "log"}}}, [tmp_path / "scale.pdf"])


@pytest.mark.filterwarnings("error::UserWarning")
def test_exponents_are_the_limits_of_a_logarithmic_axis(tmp_path):
    """As Optuna's contours have them, on both axes."""
    points = {"type": "scatter", "name": "trials", "mode": "markers", "x": [0.5, 20.0], "y": [0.01, 0.3]}
    axis = {"type": "log", "range": [-2.0, 1.5]}
    layout = {"xaxis": axis, "yaxis": {"type": "log", "range": [-2.5, 0.0]}}
    drawing.draw_files({"data": [points], "layout": layout}, [tmp_path / "scale.svg"])
    ticks = re.findall(r"10\^\{(-?\d)\}", (tmp_path / "scale.svg").read_text())
    assert ticks == ["0", "1", "-2", "-1", "0"]  # across, where the points are; up, as the limits say
