"""Panels that are compared: those where gates stand beside each other, on one scale, in the report and in print."""

from dataclasses import replace

from matplotlib.figure import Figure as Canvas

from gatebench.bench.analysis.summary import Summary
from gatebench.dashboards import drawing, figures
from tests.dashboards.test_export import group


def summary(*groups):
    return Summary("s", "run", (), groups=groups)


def of(objective, gate, mean):
    return replace(group(gate, mean), objective=objective)


def titles(figure):
    return [note["text"] for note in figure["layout"]["annotations"]]


def test_an_objective_under_one_gate_has_no_panel_beside_those_that_have_more():
    several = summary(of("dpo", "none", -3.0), of("dpo", "seq", 3.0), of("nll", "none", 1.0))
    assert titles(figures.strip(several)) == ["dpo"]
    assert titles(figures.strip(summary(of("dpo", "none", -3.0), of("nll", "none", 1.0)))) == ["dpo", "nll"]


def test_panels_that_are_compared_have_one_scale_in_the_report_and_in_print():
    crossed = [
        of(objective, gate, 10.0**scale) for scale, objective in ((0, "a"), (2, "b")) for gate in ("none", "seq")
    ]
    layout = figures.strip(summary(*crossed))["layout"]
    assert layout["yaxis2"]["matches"] == "y"
    panels = Canvas().subplots(1, 2)
    for panel, height in zip(panels, (1, 100), strict=True):
        panel.plot([0, 1], [0, height])
    drawing._scale(panels, layout)
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert panels[0].get_ylim()[1] > 100
