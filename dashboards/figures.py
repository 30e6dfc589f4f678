"""The figures of a report as plotly.js specifications: pure functions from results to plain dictionaries.

Colour says one thing in every figure: ungated is vermillion, gated is blue (Okabe & Ito's palette, safe for
colour-blind readers); other gates differ from one another by symbol and dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.summary import CellResult

if TYPE_CHECKING:
    import pandas

UNGATED, GATED = "#D55E00", "#0072B2"
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
NATS = "nats a response"
Figure = dict[str, Any]
Curves = Mapping[str, "tuple[pandas.DataFrame, pandas.DataFrame]"]


def colour(gate: str) -> str:
    return UNGATED if gate == "none" else GATED


def _order(cells: Sequence[CellResult]) -> dict[str, int]:
    gates = [gate for gate in dict.fromkeys(cell.gate for cell in cells) if gate != "none"]
    return {"none": 0, **{gate: index for index, gate in enumerate(gates)}}


def _layout(title: str, x: str, y: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title}, "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "zeroline": True, "automargin": True}, "margin": {"t": 48, "r": 16},
        "legend": {"orientation": "h", "y": -0.25}, **more,
    }  # fmt: skip


def strip(cells: Sequence[CellResult], metric: str = "delta_chosen", title: str = "Δ chosen") -> Figure:
    """Every cell's metric by model and objective, gated against ungated."""
    order = _order(cells)
    traces = []
    for gate, index in order.items():
        own = [cell for cell in cells if cell.gate == gate and metric in cell.metrics]
        traces.append({
            "type": "scatter", "mode": "markers", "name": f"gate {gate}",
            "x": [[cell.model for cell in own], [cell.objective for cell in own]],
            "y": [cell.metrics[metric] for cell in own], "text": [cell.id for cell in own],
            "marker": {"color": colour(gate), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 10},
        })  # fmt: skip
    return {
        "data": traces,
        "layout": _layout(
            f"{title} by method and model", "", NATS, xaxis={"type": "multicategory", "automargin": True}
        ),
    }


def dynamics(cells: Sequence[CellResult], curves: Curves, metric: str, title: str) -> Figure:
    """A metric through training, one line a cell, dashed by objective; step 0 is 0 by definition."""
    objectives = list(dict.fromkeys(cell.objective for cell in cells))
    order = _order(cells)
    traces = []
    for cell in cells:
        frame = curves[cell.id][0]
        if metric not in frame:
            continue
        dash, symbol = DASHES[objectives.index(cell.objective) % len(DASHES)], SYMBOLS[order[cell.gate] % len(SYMBOLS)]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": f"{cell.objective} {cell.gate}",
            "x": [0, *frame["step"].tolist()], "y": [0.0, *frame[metric].tolist()], "text": cell.id,
            "line": {"color": colour(cell.gate), "dash": dash}, "marker": {"symbol": symbol},
        })  # fmt: skip
    return {"data": traces, "layout": _layout(title, "optimizer step", NATS, showlegend=len(traces) <= 12)}


def gate_openness(cells: Sequence[CellResult], curves: Curves) -> Figure:
    """The gate's mean weight through training, with the share of pairs it closes (g < 0.1) dotted."""
    traces = []
    for cell in cells:
        frame = curves[cell.id][1]
        if "gate/mean" not in frame:
            continue
        for name, dash in (("gate/mean", "solid"), ("gate/closed", "dot")):
            traces.append({
                "type": "scatter", "mode": "lines",
                "name": f"{cell.objective} {cell.gate} {name.removeprefix('gate/')}",
                "x": frame["step"].tolist(), "y": frame[name].tolist(), "text": cell.id,
                "line": {"color": GATED, "dash": dash},
            })  # fmt: skip
    return {
        "data": traces,
        "layout": _layout("How open the gate is", "optimizer step", "weight, share", showlegend=len(traces) <= 12),
    }


def scale(cells: Sequence[CellResult]) -> Figure:
    """Δ chosen against the number of parameters: does the gate or the scale protect the chosen response?"""
    sized = [(cell.stages["base"].facts.get("parameters"), cell) for cell in cells if "base" in cell.stages]
    traces = []
    for gate, index in _order(cells).items():
        own = sorted(
            (size, cell.metrics["delta_chosen"], cell.id) for size, cell in sized if size and cell.gate == gate
        )
        if own:
            traces.append({
                "type": "scatter", "mode": "markers", "name": f"gate {gate}", "x": [p[0] for p in own],
                "y": [p[1] for p in own], "text": [p[2] for p in own],
                "marker": {"color": colour(gate), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 10},
            })  # fmt: skip
    layout = _layout("Scale against gate", "parameters", NATS)
    layout["xaxis"]["type"] = "log"
    return {"data": traces, "layout": layout}
